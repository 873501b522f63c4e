/* Laplace's equation on the unit square by Jacobi's method: plain MPI, nothing of muster's.
 *
 *   muster mpirun -np 4 -N 2 ./jacobi --size 64
 *
 * The boundary is that of u(x, y) = x y, which is the solution, so the error is known.  Each rank
 * has a run of rows and tells its neighbours the outer ones before each sweep.  A sweep reads old
 * values only, and a maximum does not depend on an order: any number of ranks prints the same line.
 */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kSweepsPerLook = 50 };

static int Option(int argc, char** argv, const char* name, int otherwise) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (strcmp(argv[i], name) == 0) return atoi(argv[i + 1]);
  }
  return otherwise;
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank, ranks;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);

  const int n = Option(argc, argv, "--size", 64); /* Inner points of a row, and rows. */
  const double tolerance = 1e-9;                  /* Of the change in one sweep. */
  if (n < ranks) {
    if (rank == 0) fprintf(stderr, "jacobi: --size %d is less than %d ranks\n", n, ranks);
    MPI_Finalize();
    return 2;
  }
  /* Rows first + 1 to first + rows are this rank's; 0 and rows + 1 are its neighbours', or the
   * edge. */
  const int first = n * rank / ranks, rows = n * (rank + 1) / ranks - first, width = n + 2;
  const double h = 1.0 / (n + 1);
  double* now = calloc((size_t)(rows + 2) * (size_t)width, sizeof *now);
  double* next = calloc((size_t)(rows + 2) * (size_t)width, sizeof *next);
  for (int i = 0; i < rows + 2; ++i) {
    const double y = (first + i) * h;
    for (int j = 0; j < width; ++j) {
      const int edge = first + i == 0 || first + i == n + 1 || j == 0 || j == n + 1;
      now[i * width + j] = next[i * width + j] = edge ? j * h * y : 0;
    }
  }

  const int up = rank > 0 ? rank - 1 : MPI_PROC_NULL;
  const int down = rank + 1 < ranks ? rank + 1 : MPI_PROC_NULL;
  int sweeps = 0;
  for (double change = 1; change > tolerance; ++sweeps) {
    MPI_Sendrecv(now + width, width, MPI_DOUBLE, up, 0, now + (rows + 1) * width, width, MPI_DOUBLE,
                 down, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Sendrecv(now + rows * width, width, MPI_DOUBLE, down, 1, now, width, MPI_DOUBLE, up, 1,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    double mine = 0;
    for (int i = 1; i <= rows; ++i) {
      for (int j = 1; j <= n; ++j) {
        const double* at = now + i * width + j;
        next[i * width + j] = 0.25 * (at[-width] + at[width] + at[-1] + at[1]);
        mine = fmax(mine, fabs(next[i * width + j] - *at));
      }
    }
    double* const old = now;
    now = next;
    next = old;
    if (sweeps % kSweepsPerLook == 0) {
      MPI_Allreduce(&mine, &change, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    }
  }

  double mine = 0, error = 0;
  for (int i = 1; i <= rows; ++i) {
    for (int j = 1; j <= n; ++j) {
      mine = fmax(mine, fabs(now[i * width + j] - j * h * (first + i) * h));
    }
  }
  MPI_Reduce(&mine, &error, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  if (rank == 0) printf("%d x %d points: %d sweeps, the error is %.9e\n", n, n, sweeps, error);
  free(now);
  free(next);
  MPI_Finalize();
  return 0;
}
