/* Hello from every rank, and one all-reduce: the smallest MPI job, in plain C.
 *
 *   muster run -N 2 --ranks-per-node 4 -- build/release/bin/c_mpi_hello
 *   mpirun -np 8 build/release/bin/c_mpi_hello
 *
 * It needs nothing of muster's.  --seconds S goes on with all-reduces for S seconds, so that there
 * is something to kill; --abort RANK makes that rank call MPI_Abort with status 7.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The value after the option, or otherwise. */
static double Option(int argc, char** argv, const char* name, double otherwise) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (strcmp(argv[i], name) == 0) return atof(argv[i + 1]);
  }
  return otherwise;
}

int main(int argc, char** argv) {
  const double begun = Now();
  MPI_Init(&argc, &argv);
  const double up = Now();
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);

  const int mine = rank + 1;
  int sum = 0;
  MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  const double reduced = Now();

  MPI_Comm node;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  int local_size;
  MPI_Comm_size(node, &local_size);
  const int right = sum == size * (size + 1) / 2;
  printf("rank %d of %d, %d on this node: the sum is %d, %s ", rank, size, local_size, sum,
         right ? "right" : "WRONG");
  printf("(main %.6f, MPI %.6f, sum %.6f)\n", begun, up, reduced);
  fflush(stdout);

  if (rank == (int)Option(argc, argv, "--abort", -1)) MPI_Abort(MPI_COMM_WORLD, 7);
  const double until = Now() + Option(argc, argv, "--seconds", 0);
  int go_on = 1;
  while (go_on) {
    const int want = Now() < until;
    MPI_Allreduce(&want, &go_on, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  }
  MPI_Comm_free(&node);
  MPI_Finalize();
  return right ? 0 : 1;
}
