/* One-sided: every rank adds to a counter of rank 0, and puts its name into a table. */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  int* table;
  MPI_Win window;
  MPI_Win_allocate((MPI_Aint)sizeof(int) * (rank == 0 ? size + 1 : 0), sizeof(int), MPI_INFO_NULL,
                   MPI_COMM_WORLD, &table, &window);
  MPI_Win_fence(0, window);
  if (rank == 0) {
    for (int i = 0; i <= size; ++i) table[i] = 0;
  }
  MPI_Win_fence(0, window);
  const int one = 1, square = rank * rank;
  MPI_Accumulate(&one, 1, MPI_INT, 0, 0, 1, MPI_INT, MPI_SUM, window);
  MPI_Put(&square, 1, MPI_INT, 0, 1 + rank, 1, MPI_INT, window);
  MPI_Win_fence(0, window);
  if (rank == 0) {
    printf("counter %d, table", table[0]);
    for (int i = 1; i <= size; ++i) printf(" %d", table[i]);
    printf("\n");
  }
  MPI_Win_free(&window);
  MPI_Finalize();
  return 0;
}
