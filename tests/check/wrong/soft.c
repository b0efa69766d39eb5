/* Built without any of the hardening that check.hardened looks for. */
int main(void)
{
    return 0;
}
