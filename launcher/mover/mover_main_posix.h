// `muster mover`: the only process that touches a mounted store.  One per job, node and store; a
// child of the job daemon, as the job's user.
//
// Disposable: a dead share blocks it and nothing else, and it may be killed at any moment without
// harm to a commit.  Single-threaded.  It ends when the other end of the socket closes, on Quit,
// and, at once, when its parent dies.
#pragma once

namespace muster {

// Serves `fd`, an end of a SOCK_SEQPACKET socketpair that the parent made.  Returns the exit
// status: 0, or 70 after a frame that no job daemon of ours sends.
int MoverMain(int fd);

}  // namespace muster
