"""Which signals save a run, and that each is heard at a moment of the program's choosing."""

import os
import signal

import pytest

from jaxprune.interrupt import deferred_interrupt, exit_code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_is_remembered_and_obeyed_when_asked(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with deferred_interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.heard == number
        with pytest.raises(KeyboardInterrupt) as stopped:
            interrupt.obey()
        assert exit_code(stopped.value) == 128 + number
    assert signal.getsignal(number) == before


def test_a_hangup_that_was_to_be_ignored_is() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred_interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupt.heard is None
    finally:
        signal.signal(signal.SIGHUP, before)
