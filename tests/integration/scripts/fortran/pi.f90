! pi by the rectangle rule, reduced to rank 0; each rank says where it is.
program pi
  use mpi
  implicit none
  integer :: ierr, rank, size, i
  integer, parameter :: n = 100000
  double precision :: x, mine, total

  call MPI_Init(ierr)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
  call MPI_Comm_size(MPI_COMM_WORLD, size, ierr)
  mine = 0d0
  do i = rank, n - 1, size
    x = (i + 0.5d0) / n
    mine = mine + 4d0 / (1d0 + x * x) / n
  end do
  call MPI_Reduce(mine, total, 1, MPI_DOUBLE_PRECISION, MPI_SUM, 0, MPI_COMM_WORLD, ierr)
  write (*, '(a,i0,a,i0)') 'rank ', rank, ' of ', size
  if (rank == 0) write (*, '(a,f8.6)') 'pi is ', total
  call MPI_Finalize(ierr)
end program pi
