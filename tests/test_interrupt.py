"""Which signals save a run, and that each is heard at a moment of the program's choosing."""

import os
import signal
from collections.abc import Iterator

import pytest

from jaxprune.interrupt import deferred_interrupt, exit_code

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(name="handled_again")
def _handled_again() -> Iterator[None]:
    """What is done about signals is afterwards as it was."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_to_end_is_remembered_and_obeyed_when_asked(
    number: signal.Signals, handled_again: None
) -> None:
    signal.signal(number, signal.default_int_handler)  # whoever began the tests may have had it ignored
    with deferred_interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.heard == number
        with pytest.raises(KeyboardInterrupt) as stopped:
            interrupt.obey()
        assert exit_code(stopped.value) == 128 + number
    assert signal.getsignal(number) == signal.default_int_handler


def test_a_hangup_that_was_to_be_ignored_is(handled_again: None) -> None:
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with deferred_interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.heard is None
