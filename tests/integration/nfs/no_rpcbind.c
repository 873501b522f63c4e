// Preloaded into ganesha.nfsd: what it would tell rpcbind is taken as told, so that it serves NFSv3
// and MOUNT on fixed ports without one.
#include <stdbool.h>

bool rpcb_set(unsigned program, unsigned version, const void* netconfig, const void* address);
bool rpcb_unset(unsigned program, unsigned version, const void* netconfig);

bool rpcb_set(unsigned program, unsigned version, const void* netconfig, const void* address) {
  (void)program, (void)version, (void)netconfig, (void)address;
  return true;
}

bool rpcb_unset(unsigned program, unsigned version, const void* netconfig) {
  (void)program, (void)version, (void)netconfig;
  return true;
}
