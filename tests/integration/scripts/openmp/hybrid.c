/* MPI between ranks, OpenMP threads within: pi by the rectangle rule. */
#include <mpi.h>
#include <omp.h>
#include <stdio.h>

int main(int argc, char** argv) {
  int provided, rank, size;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const int n = 1000000;
  double sum = 0, pi;
  int threads = 0;
#pragma omp parallel reduction(+ : sum)
  {
#pragma omp single
    threads = omp_get_num_threads();
#pragma omp for
    for (int i = rank; i < n; i += size) {
      const double x = (i + 0.5) / n;
      sum += 4 / (1 + x * x) / n;
    }
  }
  MPI_Reduce(&sum, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
  printf("rank %d: %d threads, level %s\n", rank, threads,
         provided >= MPI_THREAD_FUNNELED ? "funneled" : "single");
  if (rank == 0) printf("pi is %.6f\n", pi);
  MPI_Finalize();
  return 0;
}
