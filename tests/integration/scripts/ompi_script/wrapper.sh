#!/bin/bash
# A wrapper as sites have it: it chooses by mpirun's variables what each rank gets.
export DEVICE=$((OMPI_COMM_WORLD_LOCAL_RANK % 2))
echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE takes device $DEVICE for: $*"
[[ $OMPI_MCA_btl_tcp_eager_limit == 32768 ]]
