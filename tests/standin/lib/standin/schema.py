"""Strict decoding of documents against a described shape, with the errors Go's decoder gives.

A shape is one of the words below, [shape] for a list, {"field": shape} for a struct, or ("map", shape) for a map of strings
to that shape. A struct may name required fields under the key "!"."""
import re

DURATION = re.compile(r"[+-]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+)")
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?")
WORDS = {
    "str": "string",
    "int": "int32",
    "bool": "bool",
    "dur": "v1.Duration",
    "time": "v1.Time",
    "quantity": "resource.Quantity",
    "intstr": "intstr.IntOrString",
    "number": "float64",
}


class Bad(Exception):
    """The first fault of a document: kind is `unknown` or `required` (the text is the field), `type` or `value`; path is where."""

    def __init__(self, kind, text, path, got="", shape=None):
        super().__init__(text)
        self.kind, self.path, self.got, self.shape = kind, path, got, shape


def seconds(text):
    """A Go duration in seconds; ValueError when it is none."""
    if not isinstance(text, str) or not DURATION.fullmatch(text):
        raise ValueError(f"time: invalid duration {go_quote(text)}")
    total = sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", text))
    return -total if text.startswith("-") else total


def duration(total):
    """Seconds as Go prints a duration: 24h0m0s."""
    whole = int(total)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def go_quote(value):
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def go_kind(value):
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "string"


def go_type(shape):
    if isinstance(shape, list):
        return "[]" + go_type(shape[0])
    if isinstance(shape, tuple):
        return "map[string]" + go_type(shape[1])
    return "struct" if isinstance(shape, dict) else WORDS.get(shape, shape)


def mismatch(value, shape, path):
    raise Bad(
        "type",
        f"json: cannot unmarshal {go_kind(value)} into Go struct field {path} of type {go_type(shape)}",
        path,
        go_kind(value),
        shape,
    )


def scalar(value, shape, path):
    """Checks one value against a word."""
    if shape == "any" or value is None:
        return
    right = {"str": str, "bool": bool, "dur": str, "time": str}.get(shape)
    if right is not None and not isinstance(value, right):
        mismatch(value, shape, path)
    if shape in ("int", "number") and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or shape == "int" and not isinstance(value, int)
    ):
        mismatch(value, shape, path)
    if shape == "intstr" and (isinstance(value, bool) or not isinstance(value, (int, str))):
        mismatch(value, shape, path)
    if shape == "dur":
        try:
            seconds(value)
        except ValueError as error:
            raise Bad("value", str(error), path) from error
    if shape == "time" and not TIME.fullmatch(value):
        quoted = go_quote(value)
        raise Bad(
            "value", f'parsing time {quoted} as "2006-01-02T15:04:05Z07:00": cannot parse {quoted} as "2006"', path
        )
    if shape == "quantity" and (isinstance(value, bool) or not QUANTITY.fullmatch(str(value))):
        raise Bad(
            "value", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'", path
        )


def check(value, shape, path):
    """Raises Bad at the first fault; path names the Go struct and field so far, as in InitConfiguration.localAPIEndpoint."""
    if isinstance(shape, str):
        scalar(value, shape, path)
    elif value is None:
        return
    elif isinstance(shape, list):
        if not isinstance(value, list):
            mismatch(value, shape, path)
        for each in value:
            check(each, shape[0], path)
    elif isinstance(shape, tuple):
        if not isinstance(value, dict):
            mismatch(value, shape, path)
        for each in value.values():
            check(each, shape[1], path)
    else:
        struct(value, shape, path)


def struct(value, shape, path):
    if not isinstance(value, dict):
        mismatch(value, shape, path)
    for field, each in value.items():
        if field == "!" or field not in shape:
            raise Bad("unknown", str(field), path)
        check(each, shape[field], f"{path}.{field}")
    for field in shape.get("!", ()):
        if value.get(field) in (None, "", [], {}):
            raise Bad("required", field, path)


def documents(text, fault):
    """All YAML documents of a text, duplicates of a key refused; `fault(text)` makes the exception for what is no YAML."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        """Timestamps stay strings and doubled keys are errors, as in sigs.k8s.io/yaml."""

    def mapping(loader, node, deep=True):
        seen = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if isinstance(key, (dict, list)):
                raise yaml.constructor.ConstructorError(None, None, "invalid map key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'key "{key}" already set in map', key_node.start_mark
                )
            seen[key] = loader.construct_object(value_node, deep=deep)
        return seen

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    Loader.yaml_implicit_resolvers = {
        first: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:timestamp"]
        for first, rules in Loader.yaml_implicit_resolvers.items()
    }
    try:
        found = list(yaml.load_all(text, Loader=Loader))
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise fault(f"yaml: {where}{getattr(error, 'problem', None) or error}") from error
    return [each for each in found if each is not None]
