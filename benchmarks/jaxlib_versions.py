"""Which jaxlib to use: training, attack and bound speed of several environments of Python, side by side.

    python -m benchmarks.jaxlib_versions FOLDER/bin/python FOLDER/bin/python...

starts one worker per Python and writes benchmarks/results/jaxlib_versions.md. Unsafe fusions
are off, as in every command. The workers compile first; then they measure one at a time and take
turns in every round, so that whatever else the machine does meets all of them alike.
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

RESULT = Path(__file__).parent / "results" / "jaxlib_versions.md"
ROUNDS = 3
WARM_UP_ITERATIONS = 5
MEMBERS, EPISODES, STEPS, STATES = 10, 20, 50, 1000
PARTS = {
    "training": "training, thousand env steps",
    "MAD": "evaluation under MAD, thousand env steps",
    "CROWN": "CROWN, thousand states",
}


def main(pythons):
    """Compile everywhere, measure in turns, write the table."""
    workers = {}
    for python in pythons:
        described = subprocess.run(
            [python, "-c", "from importlib.metadata import version; print(version('jaxlib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        workers[described] = _start(python)
    machines = {name: json.loads(worker.stdout.readline()) for name, worker in workers.items()}
    rounds = {name: [] for name in workers}
    for number in range(ROUNDS):
        order = list(workers) if number % 2 == 0 else list(workers)[::-1]
        for name in order:
            workers[name].stdin.write("measure\n")
            workers[name].stdin.flush()
            rounds[name].append(json.loads(workers[name].stdout.readline()))
            print(number, name, rounds[name][-1], flush=True)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    RESULT.write_text(report(machines, rounds))


def _start(python):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [python, "-W", "ignore", "-m", "benchmarks.jaxlib_versions", "worker"]
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def work():
    """Print where this runs, then one measurement for every line that comes in."""
    from benchmarks.machine import machine_line

    runs = prepared()
    print(json.dumps(machine_line("python -m benchmarks.jaxlib_versions")), flush=True)
    for _ in sys.stdin:
        print(json.dumps({name: _speeds(run, amount) for name, (run, amount) in runs.items()}), flush=True)


def _speeds(run, amount):
    """Thousands per second of wall time and per second of processor time of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return [
        amount / 1e3 / (now - before)
        for now, before in ((time.perf_counter(), wall), (time.process_time(), processor))
    ]


def prepared():
    """By part: a compiled program that has run once, and how much it does."""
    import jax

    from benchmarks import attacked_evaluation, certify_speed
    from jaxprune import SweepSpec, bounds
    from jaxprune.envs import make
    from jaxprune.job import job
    from jaxprune.policy import agent as agents
    from jaxprune.sweep import segment, start

    spec = SweepSpec()
    asked = job(spec)
    iteration = jax.jit(partial(segment, asked, 1))
    training = start(asked)
    for _ in range(WARM_UP_ITERATIONS):
        training = iteration(training)
    train = partial(iteration, training)

    hopper = make("hopper", "native")
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    members = jax.vmap(lambda key: agents.init(key, hopper.observation_size, hopper.action_space.size))(keys)
    attack = attacked_evaluation.prepared(hopper, members, keys, "mad", 0.075)

    networks = jax.vmap(certify_speed.member)(jax.random.split(jax.random.key(0), MEMBERS))
    states = jax.random.normal(jax.random.key(1), (MEMBERS, STATES, certify_speed.SIZES[0]))

    def delta(layers, state):
        return bounds.crown_bound(layers, state, 0.075).euclidean

    bound = partial(jax.jit(jax.vmap(jax.vmap(delta, in_axes=(None, 0)))), networks, states)
    amounts = {
        "training": (train, spec.unroll * spec.environments * len(spec.sparsities)),
        "MAD": (attack, MEMBERS * EPISODES * STEPS),
        "CROWN": (bound, MEMBERS * STATES),
    }
    runs = {
        name: (lambda run=run: jax.block_until_ready(run()), amount)
        for name, (run, amount) in amounts.items()
    }
    for run, _ in runs.values():
        run()
    return runs


def report(machines, rounds):
    """The result as Markdown."""
    names = list(rounds)
    lines = []
    for part, described in PARTS.items():
        for name in names:
            wall, processor = zip(*(measured[part] for measured in rounds[name]), strict=True)
            ratio = [
                now[part][1] / first[part][1]
                for now, first in zip(rounds[name], rounds[names[0]], strict=True)
            ]
            lines.append(
                f"| {described} | {name} | {_spread(processor)} | {_spread(wall)} | {_spread(ratio, '.2f')} |"
            )
    where = "\n\n".join(f"{name}: {line}" for name, line in machines.items())
    return f"""# Speed of jaxlib versions on a CPU

Sweep training: hopper, native physics, 10 members x 16 environments, one PPO iteration after \
{WARM_UP_ITERATIONS}. MAD: {MEMBERS} untrained members x {EPISODES} hopper episodes x {STEPS} steps, 10 \
attack steps each. CROWN: {MEMBERS} members x {STATES} states, 2 x 64 tanh. {ROUNDS} rounds, all versions \
one after the other in each; median (smallest .. largest). Other programs ran on the same cores, so the \
processor time of the process is the fairer measure; the last column is its ratio to the first version, \
round by round.

| part | jaxlib | per second of processor time | per second of wall time | ratio |
|---|---|---|---|---|
{chr(10).join(lines)}

{where}
"""


def _spread(values, digits=".1f"):
    return f"{median(values):{digits}} ({min(values):{digits}} .. {max(values):{digits}})"


if __name__ == "__main__":
    work() if sys.argv[1:] == ["worker"] else main(sys.argv[1:])
