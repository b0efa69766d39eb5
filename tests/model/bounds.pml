/* Numbers that follow from the bounds, and the loops over peers, sets and terms, which spin has not: every choice is
 * one option of the one loop. */
#define NOBODY PEERS
#define ALL    ((1 << PEERS) - 1)
#define SETS   (MASKS * NUMBERS)
#ifndef SIGN_OFFS
#define SIGN_OFFS 0
#endif
/* With CALM, how many of them are used before the faults end. */
#ifndef CHAOS_TERMS
#define CHAOS_TERMS TERMS
#endif
#ifndef CHAOS_NUMBERS
#define CHAOS_NUMBERS NUMBERS
#endif
#ifndef TURNS
#define TURNS 0
#endif
#ifndef CALM
#define CALM 0
#endif

#define BIT(x)  (1 << (x))
/* how many bits are set; of three at most, out of a table of two bits each */
#if PEERS == 3
#define POP(m)  ((59796 >> (2 * (m))) & 3)
#else
#define POP(m)  (((m)&1) + (((m) >> 1) & 1) + (((m) >> 2) & 1) + (((m) >> 3) & 1) + (((m) >> 4) & 1))
#endif

/* The sets: all hosts; 0 and 1; 1 and 2; 1 alone; each under the numbers 1 to NUMBERS. Any two share peer 1. */
#define KIND(s)   (((s)-1) % MASKS)
#if MASKS == 1
#define MASK(s)   ALL
#else
#define MASK(s)   (((ALL | 3 << 5 | 6 << 10 | 2 << 15) >> (5 * KIND(s))) & 31)
#endif
#if NUMBERS == 1
#define NUMBER(s) 1
#else
#define NUMBER(s) (((s)-1) / MASKS + 1)
#endif
#define IN(x, s)  ((MASK(s) >> (x)) & 1)
#define SIZE(s)   POP(MASK(s))

#if MUTANT == MAJORITY_OFF_BY_ONE
#define MAJORITY(s) (SIZE(s) / 2)
#else
#define MAJORITY(s) (SIZE(s) / 2 + 1)
#endif
#define TRUE_MAJORITY(s) (SIZE(s) / 2 + 1)

/* A record is named by who founded it, in which set and term. */
#define RECORD(s, c, t) (1 + (((s)-1) * PEERS + (c)) * TERMS + (t)-1)
#define FOUNDER(rec)    ((((rec)-1) / TERMS) % PEERS)
#define AT(s, c, t)     ((((s)-1) * PEERS + (c)) * TERMS + (t)-1)
#define STOOD(s, c)     told_standing[((s)-1) * PEERS + (c)]

#if PEERS == 3
#define EACH_PEER(F) F(0) F(1) F(2)
#define EACH_PAIR(F) F(0, 1) F(0, 2) F(1, 0) F(1, 2) F(2, 0) F(2, 1)
#if MUTANT == MAJORITY_OFF_BY_ONE
#define EACH_QUORUM(F, x) F(x, 1) F(x, 2) F(x, 4) F(x, 3) F(x, 5) F(x, 6) F(x, 7)
#elif MASKS == 4
#define EACH_QUORUM(F, x) F(x, 2) F(x, 3) F(x, 5) F(x, 6) F(x, 7)
#else
#define EACH_QUORUM(F, x) F(x, 3) F(x, 5) F(x, 6) F(x, 7)
#endif
#elif PEERS == 4
#define EACH_PEER(F) F(0) F(1) F(2) F(3)
#define EACH_PAIR(F) F(0, 1) F(0, 2) F(0, 3) F(1, 0) F(1, 2) F(1, 3) F(2, 0) F(2, 1) F(2, 3) F(3, 0) F(3, 1) F(3, 2)
#define EACH_QUORUM(F, x)                                                                                    \
    F(x, 3) F(x, 5) F(x, 6) F(x, 9) F(x, 10) F(x, 12) F(x, 7) F(x, 11) F(x, 13) F(x, 14) F(x, 15)
#else
#define EACH_PEER(F) F(0) F(1) F(2) F(3) F(4)
#define EACH_PAIR(F)                                                                                         \
    F(0, 1) F(0, 2) F(0, 3) F(0, 4) F(1, 0) F(1, 2) F(1, 3) F(1, 4) F(2, 0) F(2, 1) F(2, 3) F(2, 4)          \
    F(3, 0) F(3, 1) F(3, 2) F(3, 4) F(4, 0) F(4, 1) F(4, 2) F(4, 3)
#define EACH_QUORUM(F, x)                                                                                    \
    F(x, 7) F(x, 11) F(x, 13) F(x, 14) F(x, 19) F(x, 21) F(x, 22) F(x, 25) F(x, 26) F(x, 28)                 \
    F(x, 15) F(x, 23) F(x, 27) F(x, 29) F(x, 30) F(x, 31)
#endif

#if TERMS == 1
#define EACH_TERM(F, x, c) F(x, c, 1)
#elif TERMS == 2
#define EACH_TERM(F, x, c) F(x, c, 1) F(x, c, 2)
#elif TERMS == 3
#define EACH_TERM(F, x, c) F(x, c, 1) F(x, c, 2) F(x, c, 3)
#elif TERMS == 4
#define EACH_TERM(F, x, c) F(x, c, 1) F(x, c, 2) F(x, c, 3) F(x, c, 4)
#endif

#define SETS_OF_ONE_NUMBER(F, x, k) F(x, (k)) IF_MASKS2(F, x, k) IF_MASKS3(F, x, k) IF_MASKS4(F, x, k)
#if MASKS >= 2
#define IF_MASKS2(F, x, k) F(x, (k) + 1)
#else
#define IF_MASKS2(F, x, k)
#endif
#if MASKS >= 3
#define IF_MASKS3(F, x, k) F(x, (k) + 2)
#else
#define IF_MASKS3(F, x, k)
#endif
#if MASKS >= 4
#define IF_MASKS4(F, x, k) F(x, (k) + 3)
#else
#define IF_MASKS4(F, x, k)
#endif
#if NUMBERS == 1
#define EACH_NUMBER(F, x) F(x, 1)
#define EACH_SET(F, x)    SETS_OF_ONE_NUMBER(F, x, 1)
#elif NUMBERS == 2
#define EACH_NUMBER(F, x) F(x, 1) F(x, 2)
#define EACH_SET(F, x)    SETS_OF_ONE_NUMBER(F, x, 1) SETS_OF_ONE_NUMBER(F, x, 1 + MASKS)
#elif NUMBERS == 3
#define EACH_NUMBER(F, x) F(x, 1) F(x, 2) F(x, 3)
#define EACH_SET(F, x)                                                                                       \
    SETS_OF_ONE_NUMBER(F, x, 1) SETS_OF_ONE_NUMBER(F, x, 1 + MASKS) SETS_OF_ONE_NUMBER(F, x, 1 + 2 * MASKS)
#elif NUMBERS == 4
#define EACH_NUMBER(F, x) F(x, 1) F(x, 2) F(x, 3) F(x, 4)
#define EACH_SET(F, x)                                                                                       \
    SETS_OF_ONE_NUMBER(F, x, 1) SETS_OF_ONE_NUMBER(F, x, 1 + MASKS) SETS_OF_ONE_NUMBER(F, x, 1 + 2 * MASKS)  \
    SETS_OF_ONE_NUMBER(F, x, 1 + 3 * MASKS)
#endif
