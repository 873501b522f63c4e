/* Rank 1 calls MPI_Abort while the others wait in a barrier. */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 1) MPI_Abort(MPI_COMM_WORLD, 17);
  MPI_Barrier(MPI_COMM_WORLD);
  printf("rank %d came through\n", rank);
  MPI_Finalize();
  return 0;
}
