/* Heat in a bar: a Cartesian communicator, neighbours exchange their edges. */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

enum { kMine = 8, kSteps = 6000 };

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int size, rank, periodic = 0, left, right;
  MPI_Comm bar;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Cart_create(MPI_COMM_WORLD, 1, &size, &periodic, 1, &bar);
  MPI_Comm_rank(bar, &rank);
  MPI_Cart_shift(bar, 0, 1, &left, &right);
  double now[kMine + 2] = {0}, next[kMine + 2] = {0};
  if (left == MPI_PROC_NULL) now[0] = next[0] = 1; /* Hot here, cold at the other end. */
  for (int step = 0; step < kSteps; ++step) {
    MPI_Sendrecv(&now[kMine], 1, MPI_DOUBLE, right, 0, &now[0], 1, MPI_DOUBLE, left, 0, bar,
                 MPI_STATUS_IGNORE);
    MPI_Sendrecv(&now[1], 1, MPI_DOUBLE, left, 1, &now[kMine + 1], 1, MPI_DOUBLE, right, 1, bar,
                 MPI_STATUS_IGNORE);
    for (int i = 1; i <= kMine; ++i) {
      next[i] = now[i] + 0.4 * (now[i - 1] - 2 * now[i] + now[i + 1]);
    }
    memcpy(&now[1], &next[1], kMine * sizeof now[0]);
  }
  double error = 0, worst;
  for (int i = 1; i <= kMine; ++i) {
    const double exact = 1 - (double)(rank * kMine + i) / (size * kMine + 1);
    error = fmax(error, fabs(now[i] - exact));
  }
  MPI_Allreduce(&error, &worst, 1, MPI_DOUBLE, MPI_MAX, bar);
  printf("%d of %d: %s\n", rank, size, worst < 1e-3 ? "a straight line" : "no straight line");
  MPI_Finalize();
  return 0;
}
