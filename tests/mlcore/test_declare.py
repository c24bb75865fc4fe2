"""One declaration: what is read from a constructor, and what is refused."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import pytest

from mlcore.declare import Knob, PartSpec, Registry


@pytest.fixture
def parts():
    registry = Registry("part")

    @registry.add("ring", title="Ring", family="round", formula=r"m+s", paper="A. Author, 2020", aliases=("Torus",))
    class Ring:
        """Turns things round.

        Twice.
        """

        def __init__(
            self,
            num_classes: int,
            *,
            margin: Annotated[float, Knob("An angle.", 0.0, 1.5, unit="rad", symbol="m")] = 0.5,
            count: Annotated[int, Knob("How many.", 1, 9)] = 3,
            closed: Annotated[bool, Knob("Whether it closes.")] = True,
            kind: Annotated[str, Knob("Which.", choices=("thin", "thick"))] = "thin",
            limit: Annotated[float | None, Knob("The end.", 0.0, 10.0, none="no end")] = None,
            helper: object = None,
        ) -> None:
            self.values = (num_classes, margin, count, closed, kind, limit, helper)

    registry.cls = Ring
    return registry


def test_spec_tells_what_the_constructor_says(parts):
    spec = parts["ring"]
    assert (spec.key, spec.title, spec.family, spec.paper, spec.aliases) == (
        "ring",
        "Ring",
        "round",
        "A. Author, 2020",
        ("Torus",),
    )
    assert spec.description == "Turns things round.\n\nTwice."
    assert [(param.name, param.kind) for param in spec.params] == [
        ("margin", "float"),
        ("count", "int"),
        ("closed", "bool"),
        ("kind", "str"),
        ("limit", "float"),
    ]
    assert spec.sizes == ("num_classes",)
    assert spec.defaults() == {"margin": 0.5, "count": 3, "closed": True, "kind": "thin", "limit": None}


def test_check_fills_in_defaults_and_reads_words_from_a_command_line(parts):
    values = parts["ring"].check({"margin": "0.25", "count": "4", "closed": "false", "limit": 2})
    assert values == {"margin": 0.25, "count": 4, "closed": False, "kind": "thin", "limit": 2.0}
    assert type(values["count"]) is int


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"margin": 1.6},
            "ring: margin must be a number between 0 and 1.5 rad; got 1.6. If that is degrees, pass 0.028",
        ),
        ({"margin": 28.6}, "If that is degrees, pass 0.499."),
        ({"margin": -0.1}, "ring: margin must be a number between 0 and 1.5 rad; got -0.1.$"),
        ({"margin": float("nan")}, "margin must be"),
        ({"margin": True}, "margin must be"),
        ({"margin": None}, "margin must be"),
        ({"count": 2.5}, "count must be a whole number between 1 and 9; got 2.5"),
        ({"closed": "perhaps"}, "closed must be true or false; got 'perhaps'"),
        ({"kind": "thik"}, "kind must be one of thin, thick; got 'thik'. Did you mean 'thick'"),
        ({"limit": 11}, "limit must be"),
        ({"margn": 0.1}, "there is no 'margn'. Did you mean 'margin'"),
        ({"zzz": 0.1}, "Known: margin, count, closed, kind, limit"),
    ],
)
def test_bad_values_are_refused_with_the_cure(parts, values, message):
    with pytest.raises(ValueError, match=message):
        parts["ring"].check(values)


def test_constructor_itself_refuses_what_the_knobs_forbid(parts):
    with pytest.raises(ValueError, match="count must be"):
        parts.cls(3, count=10)
    with pytest.raises(TypeError, match=r"there is no argument 'margins'. Did you mean 'margin'"):
        parts.cls(3, margins=0.1)
    with pytest.raises(TypeError, match="num_classes"):
        parts.cls()


def test_values_arrive_in_their_own_type(parts):
    assert parts.cls(3, margin=1, count=2.0, limit=4, helper="any").values == (3, 1.0, 2, True, "thin", 4.0, "any")


def test_registry_refuses_a_second_declaration_and_suggests_the_nearest_key(parts):
    with pytest.raises(ValueError, match="part 'ring' is declared twice"):
        parts.add("ring", title="Again", family="round")(parts.cls)
    with pytest.raises(ValueError, match=r"There is no part 'rign'. Did you mean 'ring'"):
        parts["rign"]
    assert "rign" not in parts
    assert list(parts) == ["ring"]
    assert len(parts) == 1


def test_spec_survives_json_without_the_class(parts):
    spec = parts["ring"]
    assert PartSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_build_takes_from_the_sizes_what_the_constructor_asks_for():
    registry = Registry("part")
    registry.add("knob", title="Knob", family="round")(Handle)
    handle = registry["knob"].build({"num_classes": 3, "embedding_size": 8}, width=2)
    assert (handle.num_classes, handle.width) == (3, 2.0)


class Handle:
    """Turns."""

    def __init__(self, num_classes: int, *, width: Annotated[float, Knob("How wide.", 0.0)] = 1.0) -> None:
        self.num_classes = num_classes
        self.width = width


class Rows:
    """Turns."""

    def __init__(
        self, *, per_class: Annotated[bool, Knob("One each.", needs="num_classes")] = False, num_classes: int = 1
    ) -> None:
        self.num_classes = num_classes


def test_a_size_that_a_knob_needs_is_given_only_where_it_is_set():
    registry = Registry("part")
    registry.add("rows", title="Rows", family="round", unpictured="Too thin.")(Rows)
    sizes = {"num_classes": 5, "embedding_size": 8}
    assert registry["rows"].sizes == ()
    assert registry["rows"].build(sizes).num_classes == 1
    assert registry["rows"].build(sizes, per_class=True).num_classes == 5
    assert PartSpec.from_dict(json.loads(json.dumps(registry["rows"].to_dict()))) == registry["rows"]


def test_a_constructor_that_swallows_arguments_is_refused():
    class Loose:
        def __init__(self, **values: float) -> None:
            pass

    with pytest.raises(TypeError, match="takes no"):
        Registry("part").add("loose", title="Loose", family="round")(Loose)


class Base:
    def __init__(self, size: int, *, width: Annotated[float, Knob("How wide.", 0.0)] = 1.0, depth: int = 2) -> None:
        self.got = (size, width, depth)


class Derived(Base):
    """Turns."""

    def __init__(self, size: int, *, turns: Annotated[int, Knob("How often.", 1)] = 3, **rest: Any) -> None:
        super().__init__(size, **rest)


def test_double_star_stands_for_the_keyword_arguments_of_the_base_and_nothing_else():
    registry = Registry("part")
    registry.add("derived", title="Derived", family="round")(Derived)
    assert registry["derived"].defaults() == {"turns": 3, "width": 1.0}
    assert registry["derived"].sizes == ("size",)
    assert registry["derived"].build({"size": 5}, width=2).got == (5, 2.0, 2)
    with pytest.raises(TypeError, match=r"no argument 'widht'\. Did you mean 'width'"):
        Derived(5, widht=2)
    with pytest.raises(ValueError, match="width must be"):
        Derived(5, width=-1)


def test_a_knob_on_another_type_is_refused():
    class Odd:
        def __init__(self, size: Annotated[list, Knob("Which.")] = ()) -> None:
            pass

    with pytest.raises(TypeError, match="a knob's type is float, int, bool or str"):
        Registry("part").add("odd", title="Odd", family="round")(Odd)


class Shade(StrEnum):
    DARK = "dark"
    LIGHT = "light"


def test_a_trait_that_the_room_does_not_have_is_refused_with_the_nearest():
    registry = Registry("part", traits=Shade)
    registry.add("night", title="Night", family="round", traits=(Shade.DARK,))(Handle)
    assert registry["night"].traits == ("dark",)
    with pytest.raises(ValueError, match=r"part 'day': there is no trait 'lihgt'\. Did you mean 'light'"):
        registry.add("day", title="Day", family="round", traits=("lihgt",))(Rows)
    assert list(registry) == ["night"]


def test_a_room_without_traits_takes_none():
    with pytest.raises(ValueError, match=r"there is no trait 'dark'\. This room has none"):
        Registry("part").add("night", title="Night", family="round", traits=(Shade.DARK,))(Handle)
