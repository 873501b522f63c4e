/* MPI-IO: all ranks write one file, in turn about, and read what the others wrote. */
#include <mpi.h>
#include <stdio.h>

enum { kCount = 1000 };

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank, size, wrong = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_File file;
  MPI_File_open(MPI_COMM_WORLD, "numbers", MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file);
  int numbers[kCount];
  for (int i = 0; i < kCount; ++i) numbers[i] = i * size + rank;
  MPI_Datatype every;
  MPI_Type_vector(kCount, 1, size, MPI_INT, &every);
  MPI_Type_commit(&every);
  MPI_File_set_view(file, (MPI_Offset)sizeof(int) * rank, MPI_INT, every, "native", MPI_INFO_NULL);
  MPI_File_write_all(file, numbers, kCount, MPI_INT, MPI_STATUS_IGNORE);
  MPI_File_sync(file);
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
  MPI_File_read_at_all(file, (MPI_Offset)rank * kCount, numbers, kCount, MPI_INT,
                       MPI_STATUS_IGNORE);
  for (int i = 0; i < kCount; ++i) wrong += numbers[i] != rank * kCount + i;
  MPI_File_close(&file);
  printf("rank %d: %d wrong numbers\n", rank, wrong);
  MPI_Type_free(&every);
  MPI_Finalize();
  return wrong != 0;
}
