import pytest

from jaxprune.report.numbers import low_to_high, number, signed


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
