"""Expressions of a policy choose items by comparison alone, say where they are wrong, and reach nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.expressions import BadExpression, parse

COLUMNS = {
    "age": np.array([10.0, 65.0, np.nan, 80.0]),
    "visits": np.array([0, 3, 5, 9]),
    "site": np.array(["oslo", "umea", None, ""], dtype=object),
    "label": np.array([0, 1, 1, 0]),
    "fresh": np.array([True, False, True, False]),
    "age at scan": np.array([1, 2, 3, 4]),
}


def chosen(text: str) -> list[int]:
    return np.flatnonzero(parse(text).rows(COLUMNS.__getitem__, classes=("dog", "cat"))).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("age >= 65", [1, 3]),
        ("65 <= age", [1, 3]),
        ("18 < age < 70", [1]),
        ("site == 'oslo' or visits > 4", [0, 2, 3]),
        ("visits > 4 and not site == 'oslo'", [2, 3]),
        ("not (visits > 4 or site == 'oslo')", [1]),
        ("site in ('oslo', \"umea\",)", [0, 1]),
        ("visits not in (0, 9)", [1, 2]),
        ("label == 'cat'", [1, 2]),
        ("label != 1", [0, 3]),
        ("fresh == true", [0, 2]),
        ("`age at scan` <= visits", [1, 2, 3]),
        ("age > -1e3", [0, 1, 3]),
        ("visits == 0 and visits == 1 or visits == 3", [1]),
    ],
)
def test_an_expression_chooses_the_items_it_is_true_of(text: str, rows: list[int]) -> None:
    assert chosen(text) == rows


@pytest.mark.parametrize("test", ["== 'x'", "!= 'x'", "< 'x'", ">= ''"])
def test_an_item_whose_value_is_missing_is_in_no_comparison(test: str) -> None:
    assert not {2, 3} & set(chosen(f"site {test}"))
    assert 2 not in {*chosen("age < 65"), *chosen("age >= 65"), *chosen("age != 65")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends where a column"),
        ("age", "ends where ==, !="),
        ("age >", "'age >' ends where a column, a number or a quoted text should be"),
        ("age = 3", "'= 3' is not understood at character 5"),
        ("age > 3 visits < 2", "'visits' at character 9"),
        ("1 < 2", "compares two constants"),
        ("age in (visits)", "'visits' at character 9"),
        ("'a' in ('a', 'b')", "a column before in"),
        ("age < 'old'", "column 'age' holds numbers, it cannot be compared with 'old'"),
        ("site > 3", "column 'site' holds texts"),
        ("site == age", "which cannot be compared"),
        ("label == 'cow'", "there is no class 'cow'; the classes are dog, cat"),
        ("age.real > 1", "'.real > 1' is not understood at character 4"),
        ("__import__('os').system('true')", "is not understood at character 17"),
        ("(" * 40 + "age > 1" + ")" * 40, "nested more than 30 deep"),
        ("not " * 40 + "age > 1", "nested more than 30 deep"),
        ("age > 1 or " * 200 + "age > 1", "1000 at most"),
    ],
    ids=lambda text: text[:24],
)
def test_what_is_no_expression_says_where(text: str, says: str) -> None:
    with pytest.raises(BadExpression) as caught:
        chosen(text)
    assert says in str(caught.value)


@settings(deadline=None)
@given(text=st.text(alphabet="age><=!()'\"` 0123.,notindrvis\n", max_size=40))
def test_any_text_is_an_expression_or_a_complaint(text: str) -> None:
    try:
        found = parse(text).rows(lambda name: COLUMNS.get(name, COLUMNS["visits"]))
    except BadExpression:
        return
    assert found.shape == (4,)


def test_an_expression_names_the_columns_it_reads() -> None:
    assert parse("age > 1 and `age at scan` < age or site in ('x')").columns == ("age", "age at scan", "site")
