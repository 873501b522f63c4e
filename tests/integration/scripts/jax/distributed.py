"""jax.distributed over two nodes on CPUs: every process has a device, and all sum over all of them."""
import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize()

from jax.experimental import multihost_utils  # noqa: E402

rank = jax.process_index()
print(f"process {rank} of {jax.process_count()}: {jax.local_device_count()} of "
      f"{jax.device_count()} devices, ranks {multihost_utils.process_allgather(rank).tolist()}",
      flush=True)
multihost_utils.sync_global_devices("end")
jax.distributed.shutdown()
