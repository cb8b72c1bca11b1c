"""Tasks that MuJoCo's engines move: what they are (`task`), what moves them (`engine`), one file per kind.

They follow Gymnasium's `-v4` environments, descendants of the ones in the literature:
https://gymnasium.farama.org/environments/mujoco/. Episodes last at most `task.HORIZON` steps. Units are SI.
"""
