#define _GNU_SOURCE
#include "runtime/client/stage_posix.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STAGES = 2 };

static struct {
  dev_t device;
  ino_t inode;
  uint64_t begin, end;
  char* at;
} stages[STAGES];
static size_t oldest;

void* muster_map_stage(int fd, uint64_t begin, uint64_t bytes) {
  struct stat info;
  if (fstat(fd, &info) != 0) return NULL;
  size_t use = STAGES;
  for (size_t i = 0; i < STAGES; ++i) {
    const int same =
        stages[i].at != NULL && stages[i].device == info.st_dev && stages[i].inode == info.st_ino;
    if (!same) continue;
    if (stages[i].begin <= begin && begin + bytes <= stages[i].end) {
      return stages[i].at + (begin - stages[i].begin);
    }
    use = i;
  }
  if (use == STAGES) use = oldest++ % STAGES;
  if (stages[use].at != NULL) munmap(stages[use].at, stages[use].end - stages[use].begin);
  stages[use].at = NULL;
  const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  const uint64_t from = begin / page * page;
  void* at = mmap(NULL, begin + bytes - from, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                  (off_t)from);
  if (at == MAP_FAILED) return NULL;
  stages[use].device = info.st_dev;
  stages[use].inode = info.st_ino;
  stages[use].begin = from;
  stages[use].end = begin + bytes;
  stages[use].at = at;
  return stages[use].at + (begin - from);
}
