"""What holds only in a process of its own: one device, and no backend yet?"""

import textwrap

import pytest

from tests.helpers import python

FAMILY = "ao.adabelief, ao.aida, ao.ladam, ao.ladabelief"


def run_alone(code):
    """Runs code in a process with one CPU device; returns what it printed."""
    done = python("-c", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tracing_starts_no_backend():
    # jax.device_count() did, after which jax.distributed.initialize() refuses.
    run_alone(
        f"""
        import socket
        import jax, jax.numpy as jnp
        import adabelief_optax as ao

        params = {{"a": jax.ShapeDtypeStruct((512, 512), jnp.float32),
                   "b": jax.ShapeDtypeStruct((512, 512), jnp.float32)}}
        for factory in ({FAMILY}):
            tx = factory(1e-3)
            state = jax.eval_shape(tx.init, params)
            jax.eval_shape(tx.update, params, state, params)
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        jax.distributed.initialize(f"localhost:{{port}}", 1, 0)
        """
    )


@pytest.mark.long
def test_shard_map_over_a_mesh_of_one_device():
    # A large leaf waited for the one before, and then varied over its mesh axes.
    run_alone(
        f"""
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import Mesh, PartitionSpec as P
        import adabelief_optax as ao

        assert jax.device_count() == 1
        if not hasattr(jax, "shard_map"):
            raise SystemExit
        mesh = Mesh(np.array(jax.devices()), ("x",))
        params = {{"a": jnp.ones((256, 256)), "b": jnp.ones((256, 256))}}
        specs = {{"a": P("x"), "b": P()}}
        for factory in ({FAMILY}):
            tx = factory(1e-3)

            def loop(params):
                def step(carry, _):
                    params, state = carry
                    updates, state = tx.update(params, state, params)
                    return (jax.tree.map(jnp.add, params, updates), state), None

                carry = (params, tx.init(params))
                return jax.lax.scan(step, carry, None, length=2)[0][0]

            mapped = jax.shard_map(loop, mesh=mesh, in_specs=(specs,), out_specs=specs)
            ours, plain = jax.jit(mapped)(params), jax.jit(loop)(params)
            for name in params:
                np.testing.assert_allclose(ours[name], plain[name], rtol=1e-6)
        """
    )
