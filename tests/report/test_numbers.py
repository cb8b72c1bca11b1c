import pytest

from jaxprune.report.numbers import counted, family_wise, low_to_high, number, percent, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (2812.4, "2812"),
        (-45.67, "-45.7"),
        (1.234, "1.23"),
        (0.8217, "0.822"),
        (2.3e6, "2.3e+06"),
        (0.0004, "4.0e-04"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_the_digits_worth_reading(value, text):
    assert number(value) == text


def test_signs_and_intervals():
    assert [signed(value) for value in (3.0, -3.0, 0.0, None)] == ["+3.00", "-3.00", "0", "-"]
    assert low_to_high(-10.0, 120.0) == "-10.0..120"
    assert low_to_high(None, None) == ""


def test_a_confidence_is_never_rounded_up_to_all():
    assert [percent(share) for share in (0.95, 0.9, 0.975, 0.999, 0.9995)] == [
        *("95%", "90%", "97.5%", "99.9%", "99.95%")
    ]


def test_one_is_no_plural():
    assert [counted(count, "seed") for count in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert [counted(count, "policy") for count in (1, 2)] == ["1 policy", "2 policies"]


def test_a_quarter_of_the_usual_error_is_told_whole():
    assert [family_wise(alpha) for alpha in (0.05, 0.0125)] == [
        *("family-wise error 5%", "family-wise error 1.25%")
    ]
