"""How a part declares itself, once: a constructor's signature, a Knob on each argument a person may set, five facts."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NotRequired, TypedDict, Unpack

KnobValue = bool | int | float | str | None
KINDS = {float: "float", int: "int", bool: "bool", str: "str"}


def nearest_word(word: str, words: typing.Iterable[str]) -> str:
    """' Did you mean 'x'?' for the nearest of `words`, or all of them when none is near."""
    known = list(words)
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Known: {', '.join(known)}." if known else ""


@dataclass(frozen=True)
class Knob:
    """What a person is told about one argument, and what it may be.

    `symbol` is the argument's letter in the part's formula (LaTeX), `log` lets a slider move in powers,
    `none` is what None means, where None is allowed, `needs` a size (num_classes ...) that the part is given only where
    the argument is set. A `rare` knob is offered behind the others. `title` is what the argument is called before
    people, where its name says little (`m`, `gamma`).
    """

    text: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    symbol: str = ""
    log: bool = False
    none: str = ""
    needs: str = ""
    rare: bool = False
    title: str = ""


@dataclass(frozen=True)
class Param:
    """One argument that a person may set: its name, kind, default and knob."""

    name: str
    kind: str
    default: KnobValue
    knob: Knob

    @property
    def title(self) -> str:
        """What it is called before people: the knob's title, else its name in words."""
        return self.knob.title or self.name.replace("_", " ").capitalize()

    def check(self, owner: str, value: object) -> KnobValue:
        """Return `value` in the argument's own type, or raise ValueError that says what it must be."""
        if value is None and self.knob.none:
            return None
        checked = self._typed(value)
        if checked is None or not self._inside(checked):
            raise ValueError(f"{owner}: {self.name} must be {self.range_text()}; got {value!r}.{self._cure(value)}")
        return checked

    def range_text(self) -> str:
        """The legal values in words: 'between 0 and 1.5 rad', 'one of a, b', 'true or false'."""
        knob = self.knob
        unit = f" {knob.unit}" if knob.unit else ""
        if knob.choices:
            return "one of " + ", ".join(knob.choices)
        if self.kind == "bool":
            return "true or false"
        if self.kind == "str":
            return "a name"
        noun = "a whole number" if self.kind == "int" else "a number"
        if knob.low is not None and knob.high is not None:
            return f"{noun} between {knob.low:g} and {knob.high:g}{unit}"
        if knob.low is not None:
            return f"{noun}, at least {knob.low:g}{unit}"
        if knob.high is not None:
            return f"{noun}, at most {knob.high:g}{unit}"
        return noun + unit

    def _typed(self, value: object) -> KnobValue:
        if self.kind == "bool":
            return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).lower())
        if self.kind == "str":
            return value if isinstance(value, str) else None
        if isinstance(value, bool) or not isinstance(value, str | typing.SupportsFloat | typing.SupportsIndex):
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if not math.isfinite(number) or (self.kind == "int" and number != int(number)):
            return None
        return int(number) if self.kind == "int" else number

    def _inside(self, value: KnobValue) -> bool:
        knob = self.knob
        if knob.choices:
            return value in knob.choices
        if self.kind in ("bool", "str"):
            return True
        assert isinstance(value, int | float)
        return (knob.low is None or value >= knob.low) and (knob.high is None or value <= knob.high)

    def _cure(self, value: object) -> str:
        if self.knob.choices:
            return nearest_word(str(value), self.knob.choices)
        high = self.knob.high
        if self.knob.unit != "rad" or high is None or not isinstance(value, int | float) or not high < value <= 180:
            return ""
        return f" If that is degrees, pass {math.radians(value):.3f}."


@dataclass(frozen=True)
class PartSpec:
    """A declared part, readable without importing it: everything but the class itself is plain data.

    `sizes` are the constructor's arguments that data and model supply (num_classes, embedding_size ...),
    `aliases` what other libraries call the part, `unpictured` why no picture of one anchor and its pairs can be made,
    `traits` words that others go by (mlcore/traits.py), `takes` the arguments that want a
    part of another room, each with the keys that it accepts, `one_of` arguments of which one must be set at least.
    """

    key: str
    title: str
    family: str
    description: str
    params: tuple[Param, ...]
    sizes: tuple[str, ...]
    target: str
    formula: str = ""
    paper: str = ""
    aliases: tuple[str, ...] = field(default=())
    unpictured: str = ""
    traits: tuple[str, ...] = ()
    takes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    one_of: tuple[str, ...] = ()

    def defaults(self) -> dict[str, KnobValue]:
        return {param.name: param.default for param in self.params}

    def check(self, values: Mapping[str, object]) -> dict[str, KnobValue]:
        """Every argument's value, with defaults for those not given; ValueError for an unknown name or a bad value."""
        params = {param.name: param for param in self.params}
        for name in values:
            if name not in params:
                raise ValueError(f"{self.key}: there is no '{name}'.{nearest_word(name, params)}")
        given: dict[str, object] = {**self.defaults(), **values}
        if self.one_of and all(given[name] is None for name in self.one_of):
            raise ValueError(f"{self.key}: {' or '.join(self.one_of)} must be set, or more of them; got none.")
        return {name: params[name].check(self.key, value) for name, value in given.items()}

    def load(self) -> type:
        """The class itself; imports its module."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)

    def build(
        self, sizes: Mapping[str, object] | None = None, parts: Mapping[str, object] | None = None, /, **values: object
    ) -> Any:
        """Construct the part from `values`, taking from `sizes` what its constructor asks for, and all of `parts`."""
        checked = self.check(values)
        return self.load()(**self.supplied(sizes or {}, checked), **(parts or {}), **checked)

    def supplied(self, sizes: Mapping[str, object], values: Mapping[str, KnobValue]) -> dict[str, object]:
        """What of `sizes` the constructor takes with these checked `values`."""
        needed = [param.knob.needs for param in self.params if param.knob.needs and values[param.name]]
        return {name: sizes[name] for name in (*self.sizes, *needed) if name in sizes}

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> PartSpec:
        """The inverse of `to_dict`, also after a trip through JSON."""
        params = tuple(
            Param(p["name"], p["kind"], p["default"], Knob(**{**p["knob"], "choices": tuple(p["knob"]["choices"])}))
            for p in record["params"]
        )
        sequences = {name: tuple(record[name]) for name in ("sizes", "aliases", "traits", "one_of")}
        takes = {name: tuple(keys) for name, keys in record["takes"].items()}
        return PartSpec(**{**record, **sequences, "params": params, "takes": takes})


class PartFacts(TypedDict):
    """What a part says of itself beside its signature; see PartSpec."""

    title: str
    family: str
    formula: NotRequired[str]
    paper: NotRequired[str]
    aliases: NotRequired[tuple[str, ...]]
    unpictured: NotRequired[str]
    traits: NotRequired[tuple[str, ...]]
    one_of: NotRequired[tuple[str, ...]]


class Registry(Mapping[str, PartSpec]):
    """The declared parts of one room, in the order of their import; `traits` are those that they may have."""

    def __init__(
        self, noun: str, specs: typing.Iterable[PartSpec] = (), *, traits: typing.Iterable[StrEnum] = ()
    ) -> None:
        self.noun = noun
        self.traits = tuple(traits)
        self._specs: dict[str, PartSpec] = {spec.key: spec for spec in specs}

    def add(self, key: str, **facts: Unpack[PartFacts]) -> Callable[[type], type]:
        """Class decorator: declare the class under `key`, and check its knobs whenever it is constructed.

        Raises: ValueError for a trait that the room does not have, and a key that is there already.
        """

        def declare(cls: type) -> type:
            for trait in facts.get("traits", ()):
                if trait not in self.traits:
                    near = nearest_word(trait, self.traits) or " This room has none."
                    raise ValueError(f"{self.noun} '{key}': there is no trait '{trait}'.{near}")
            if key in self._specs:
                raise ValueError(f"{self.noun} '{key}' is declared twice: {self._specs[key].target} and {cls}")
            signature, hints = constructor_arguments(cls)
            params, sizes = read_params(cls, signature, hints)
            spec = PartSpec(
                key=key,
                description=inspect.getdoc(cls) or "",
                params=params,
                sizes=sizes,
                target=f"{cls.__module__}:{cls.__qualname__}",
                **facts,
            )
            self._specs[key] = spec
            wrap_constructor(cls, lambda init: checking_constructor(init, spec, signature))
            return cls

        return declare

    def __getitem__(self, key: str) -> PartSpec:
        try:
            return self._specs[key]
        except KeyError:
            raise ValueError(f"There is no {self.noun} '{key}'.{nearest_word(key, self._specs)}") from None

    def __contains__(self, key: object) -> bool:
        return key in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def constructor_arguments(cls: type) -> tuple[inspect.Signature, dict[str, object]]:
    """A constructor's signature and type hints; its `**` stands for the base's keyword-only arguments that are left.

    Left are those that it neither names nor lists in the class attribute `sets_itself`.
    """
    init = constructor_of(cls)
    signature, hints = inspect.signature(init), typing.get_type_hints(init, include_extras=True)
    rest = [argument for argument in signature.parameters.values() if argument.kind is argument.VAR_KEYWORD]
    base = cls.__base__
    if rest and base is not None and base is not object:
        above, hints_above = constructor_arguments(base)
        if not any(argument.kind is argument.VAR_KEYWORD for argument in above.parameters.values()):
            inherited = [
                argument
                for argument in above.parameters.values()
                if argument.kind is argument.KEYWORD_ONLY
                and argument.name not in signature.parameters
                and argument.name not in getattr(cls, "sets_itself", ())
            ]
            own = [argument for argument in signature.parameters.values() if argument not in rest]
            signature, hints = signature.replace(parameters=own + inherited), hints_above | hints
    return signature, hints


def read_params(
    cls: type, signature: inspect.Signature, hints: Mapping[str, object]
) -> tuple[tuple[Param, ...], tuple[str, ...]]:
    """The knobbed arguments of a constructor, and the names of the required ones that carry no knob."""
    params, sizes = [], []
    for name, argument in list(signature.parameters.items())[1:]:
        if argument.kind in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL):
            raise TypeError(f"{cls.__name__}: a declared part takes no * or ** arguments")
        hint = hints.get(name)
        knobs = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Knob)]
        if knobs:
            params.append(Param(name, parameter_kind(cls, name, typing.get_args(hint)[0]), argument.default, knobs[0]))
        elif argument.default is argument.empty:
            sizes.append(name)
    return tuple(params), tuple(sizes)


def parameter_kind(cls: type, name: str, hint: object) -> str:
    """'float', 'int', 'bool' or 'str' for a type or `type | None`."""
    kinds = [KINDS[option] for option in (typing.get_args(hint) or (hint,)) if option in KINDS]
    if len(kinds) != 1:
        raise TypeError(f"{cls.__name__}.{name}: a knob's type is float, int, bool or str, or one of them with None")
    return kinds[0]


def constructor_of(cls: type[Any]) -> Callable[..., None]:
    return cls.__init__


def wrap_constructor(cls: type[Any], wrap: Callable[[Callable[..., None]], Callable[..., None]]) -> None:
    cls.__init__ = wrap(cls.__init__)


def with_signature(function: Callable[..., None], signature: inspect.Signature) -> Callable[..., None]:
    """The function, which tells `inspect` another signature than its own."""
    function.__signature__ = signature  # type: ignore[attr-defined]  # what `inspect` looks for
    return function


def checking_constructor(
    init: Callable[..., None], spec: PartSpec, signature: inspect.Signature
) -> Callable[..., None]:
    """A class's `__init__`, refusing misspelt arguments and values outside their knob's range, with the cure."""
    params = {param.name: param for param in spec.params}

    @functools.wraps(init)
    def checked(self: object, *args: object, **kwargs: object) -> None:
        for name in kwargs:
            if name not in signature.parameters:
                known = [known for known in signature.parameters if known != "self"]
                raise TypeError(f"{spec.key}: there is no argument '{name}'.{nearest_word(name, known)}")
        bound = signature.bind(self, *args, **kwargs)
        for name, value in bound.arguments.items():
            if name in params:
                bound.arguments[name] = params[name].check(spec.key, value)
        init(*bound.args, **bound.kwargs)

    return with_signature(checked, signature)
