/* Leaves a daemon behind: fork, setsid, fork, and all descriptors closed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void Daemon(const char* rank) {
  char name[64];
  snprintf(name, sizeof name, "daemon-%s.pid", rank);
  FILE* file = fopen(name, "w");
  fprintf(file, "%d\n", (int)getpid());
  fclose(file);
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  for (int fd = 3; fd < 1024; ++fd) close(fd);
  for (;;) pause();
}

int main(void) {
  const char* rank = getenv("RANK");
  int up[2];
  if (pipe(up) != 0) return 1;
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    if (fork() != 0) _exit(0);
    close(up[0]);
    Daemon(rank);
  }
  close(up[1]);
  char byte;
  int status = 0;
  waitpid(child, &status, 0);
  const int end = (int)read(up[0], &byte, 1); /* The end of file: the daemon wrote its pid. */
  printf("rank %s leaves a daemon behind (%d)\n", rank, end);
  return status;
}
