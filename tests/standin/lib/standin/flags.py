"""Command lines as Go's pflag reads them."""
from standin import host


def parse(argv, known, short=None, words=host.Failure):
    """(flags, words) of an argument list. `known` maps a flag's name to its default: a bool takes no value, a list gathers several
    (commas part values too), all else takes one. A flag unknown or without its value is a failure."""
    found = {name: list(value) if isinstance(value, list) else value for name, value in known.items()}
    rest, at = [], 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "--":
            rest += argv[at:]
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--"):
            letter = word[1]
            name = (short or {}).get(letter)
            value, equals = word[2:].removeprefix("="), word[2:]
            if name is None:
                raise words(f"unknown shorthand flag: '{letter}' in {word}")
        if name not in known:
            raise words(f"unknown flag: --{name}")
        if isinstance(known[name], bool):
            if equals and value not in ("true", "false"):
                raise words(
                    f'invalid argument "{value}" for "--{name}" flag: strconv.ParseBool: parsing "{value}": invalid syntax'
                )
            found[name] = value != "false"
            continue
        if not equals:
            if at >= len(argv):
                raise words(
                    f"flag needs an argument: --{name}"
                    if word.startswith("--")
                    else f"flag needs an argument: '{word[1]}' in {word}"
                )
            value = argv[at]
            at += 1
        if isinstance(known[name], list):
            found[name] += value.split(",")
        elif isinstance(known[name], int):
            try:
                found[name] = int(value)
            except ValueError as error:
                raise words(
                    f'invalid argument "{value}" for "--{name}" flag: strconv.ParseInt: parsing "{value}": invalid '
                    "syntax"
                ) from error
        else:
            found[name] = value
    return found, rest
