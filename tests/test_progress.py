from jaxprune.progress import Meter


def test_a_phase_that_needed_fewer_steps_than_planned_counts_as_done() -> None:
    heard = []
    with Meter(heard.append) as meter:
        meter.begin("training")
        meter.add(6)
        meter.begin("evaluation", 6)
        meter.add(1)
        meter.begin("certificates", 10)
        meter.add(2)
        meter.begin("more", 4)
    assert [(update.phase, update.steps_done) for update in heard] == [
        ("training", 0),
        ("training", 6),
        ("evaluation", 6),
        ("evaluation", 7),
        ("certificates", 10),
        ("certificates", 12),
        ("more", 12),
    ]
