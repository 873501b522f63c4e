// What ranks really print when they fail, and when a peer of theirs did.
#include "launcher/jobd/last_words.h"

#include <gtest/gtest.h>

#include "launcher/jobd/kernel_log.h"

namespace muster {
namespace {

// NOLINTBEGIN(bugprone-suspicious-missing-comma): several lines, one literal each

constexpr const char* kTraceback = "Traceback (most recent call last):\n";

std::string Raised(const std::string& exception) {
  return std::string(kTraceback) +
         "  File \"/home/a/train.py\", line 7, in <module>\n    step()\n" + exception;
}

std::string Words(const std::string& text) {
  return LastWords(text, /*whole=*/true);
}

TEST(LastWords, AreTheLastLinesOfAProgramThatIsNotPython) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "line " + std::to_string(i) + "\n";
  const std::string words = Words(text);
  EXPECT_EQ(words.substr(0, 8), "line 80\n");
  EXPECT_TRUE(words.ends_with("line 99"));
  EXPECT_EQ(Words("one\ntwo\n\n"), "one\ntwo");
  EXPECT_EQ(Words(""), "");
  EXPECT_EQ(Words("\n\n"), "");
}

TEST(LastWords, LeaveOutTheFirstLineWhenItMayBeTheEndOfOne) {
  EXPECT_EQ(LastWords("nd of one\nwhole\n", /*whole=*/false), "whole");
  EXPECT_EQ(LastWords("only one, cut", /*whole=*/false), "only one, cut");
  const std::string long_line(10'000, 'x');
  EXPECT_EQ(Words(long_line + "\nlast\n"), "last");
}

TEST(LastWords, AreAWholeTracebackHoweverLong) {
  std::string frames;
  for (int i = 0; i < 500; ++i) {
    frames += "  File \"deep.py\", line " + std::to_string(i) + ", in call\n    call()\n";
  }
  const std::string traceback = kTraceback + frames + "ValueError: too deep";
  EXPECT_EQ(Words("epoch 1\nloss 2\n" + traceback + "\n"), traceback);
}

TEST(LastWords, AreTheLastOfSeveralTracebacks) {
  EXPECT_EQ(Words(Raised("KeyError: 'a'\n") + "caught, going on\n" + Raised("ValueError: b\n")),
            Raised("ValueError: b"));
}

TEST(LastWords, HoldWhatLedToTheLastException) {
  for (const char* chain :
       {"\nDuring handling of the above exception, another exception occurred:\n\n",
        "\nThe above exception was the direct cause of the following exception:\n\n"}) {
    const std::string both = Raised("KeyError: 'a'\n") + chain + Raised("RuntimeError: b");
    EXPECT_EQ(Words("before\n" + both + "\n"), both);
  }
}

TEST(LastWords, HoldWhatFollowsTheTraceback) {
  const std::string text = Raised("SystemError: x\n") + "core dumped, see /tmp";
  EXPECT_EQ(Words("noise\n" + text), text);
}

TEST(LastWords, HoldAnExceptionGroupFromItsFirstLine) {
  const std::string group =
      "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1\n"
      "  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n"
      "    | Traceback (most recent call last):\n    |   File \"a.py\", line 2\n"
      "    | ConnectionResetError: [Errno 104] Connection reset by peer\n"
      "    +------------------------------------";
  EXPECT_EQ(Words("noise\n" + group + "\n"), group);
  EXPECT_TRUE(BlamesPeer(group));
}

TEST(LastWords, AreBounded) {
  const std::string huge = kTraceback + std::string(kLastWordsMost * 2, 'x') + "\nend\n";
  EXPECT_LE(Words(huge).size(), kLastWordsMost);
}

// ---- whom they blame ----------------------------------------------------------------------------

TEST(BlamesPeer, KnowsHowADeadPeerIsHeardOf) {
  const std::vector<std::string> texts = {
      // Python's sockets.
      Raised("ConnectionResetError: [Errno 104] Connection reset by peer"),
      Raised("BrokenPipeError: [Errno 32] Broken pipe"),
      Raised("ConnectionAbortedError: [Errno 103] Software caused connection abort"),
      Raised("ConnectionResetError: [Errno 104] Connection reset by peer\n") +
          "\nDuring handling of the above exception, another exception occurred:\n\n" +
          Raised("RuntimeError: training failed"),
      // torch.distributed with gloo, 1.13 to 2.x.
      Raised("RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:589] Read error "
             "[127.0.0.1]:36133: Connection reset by peer"),
      Raised("RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:598] Connection closed "
             "by peer [10.0.0.2]:12793"),
      Raised("RuntimeError: [../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:84] Timed "
             "out waiting 1800000ms for recv operation to complete"),
      "terminate called after throwing an instance of 'gloo::IoException'\n  what():  "
      "[gloo/transport/tcp/pair.cc:413] writev [10.0.0.2]:5513: Broken pipe\n",
      // Its store.
      Raised("torch.distributed.DistNetworkError: Failed to recv, got 0 bytes. Connection was "
             "likely closed. Did the remote server shutdown or crash?"),
      Raised("RuntimeError: Connection reset by peer. Exception raised from recvBytes at "
             "../torch/csrc/distributed/c10d/Utils.hpp:604 (most recent call first):"),
      Raised("torch.distributed.DistStoreError: The client socket has timed out after 900s while "
             "trying to connect to (10.0.0.1, 29500)."),
      Raised("RuntimeError: [Rank 0]: Ranks 1 failed to pass monitoredBarrier in 60000 ms"),
      // NCCL.
      Raised("torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/"
             "ProcessGroupNCCL.cpp:1691, remote process exited or there was a network error, NCCL "
             "version 2.19.3\nncclRemoteError: A call failed possibly due to a network error or a "
             "remote process exiting prematurely."),
      Raised("RuntimeError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:"
             "1269, unhandled system error, NCCL version 2.14.3\nncclSystemError: System call "
             "(e.g. socket, malloc) or external library call failed or device error."),
      "n3:77:78 [2] NCCL WARN NET/IB : Got completion from peer with error 12\n"
      "[E ProcessGroupNCCL.cpp:475] [Rank 2] Watchdog caught collective operation timeout: "
      "WorkNCCL(SeqNum=90, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600410 milliseconds\n",
      "[E ProcessGroupNCCL.cpp:489] Some NCCL operations have failed or timed out. Due to the "
      "asynchronous nature of CUDA kernels, subsequent GPU operations might run on corrupted "
      "data\n",
      // MPI.
      "[n1][[41039,1],0][btl_tcp_frag.c:241:mca_btl_tcp_frag_recv] mca_btl_tcp_frag_recv: readv "
      "failed: Connection reset by peer (104)\n",
      "[n0:11] *** An error occurred in Socket closed\n[n0:11] *** MPI_ERRORS_ARE_FATAL\n",
      Raised("mpi4py.MPI.Exception: MPI_ERR_PROC_FAILED: Process Failure"),
      "Fatal error in MPI_Recv: Other MPI error, error stack:\nMPIDI_CH3I_Progress_handle_sock: "
      "Communication error with rank 3\n",
      "ucp_ep.c:1504 UCX ERROR ep 0x7f: error 'Connection reset by remote peer' on cm lane\n"
      "ucp_worker.c UCX ERROR: Endpoint timeout\n",
      // The rest.
      Raised("horovod.common.exceptions.HorovodInternalError: Horovod has been shut down. This was "
             "caused by an exception on one of the ranks"),
      "F external/xla/xla/pjrt/distributed/client.h:77] Terminating process because the JAX "
      "distributed service detected fatal errors. This most likely indicates that another task "
      "died\n",
      "recv: Connection reset by peer\n", "write: Broken pipe\n", "send: No route to host\n"};
  for (const std::string& text : texts) EXPECT_TRUE(BlamesPeer(Words(text))) << text;
}

TEST(BlamesPeer, DoesNotTakeARanksOwnFailureForAPeers) {
  const std::vector<std::string> texts = {
      "", "Segmentation fault (core dumped)\n", Raised("ValueError: loss is nan"),
      Raised("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
      Raised("FileNotFoundError: [Errno 2] No such file or directory: '/data/train.bin'"),
      Raised("AssertionError"),
      // A frame that reads like a mark, and a lost connection that was survived.
      std::string(kTraceback) +
          "  File \"a.py\", line 3, in f\n    raise ConnectionResetError if x "
          "else ValueError\nValueError: x is 3",
      Raised("ConnectionResetError: [Errno 104] Connection reset by peer\n") +
          "lost the metrics server; going on\n" + Raised("ValueError: loss is nan"),
      Raised("torch.distributed.DistBackendError: NCCL error: unhandled cuda error\n"
             "ncclUnhandledCudaError: Call to CUDA function failed."),
      "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  "
      "std::bad_alloc\n",
      "--------\nMPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD\nwith errorcode "
      "7.\n",
      "python3: can't open file '/no/train.py': [Errno 2] No such file or directory\n"};
  for (const std::string& text : texts) EXPECT_FALSE(BlamesPeer(Words(text))) << text;
}

// ---- the kernel's log, as recorded --------------------------------------------------------------

TEST(KernelLog, TellsWhomTheKillerChose) {
  for (const char* record :
       {"3,4062,24737914326,-;Memory cgroup out of memory: Killed process 2079 (python3) "
        "total-vm:323768kB, anon-rss:102016kB, file-rss:3908kB, shmem-rss:0kB, UID:0",
        "6,4061,24737914295,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,"
        "mems_allowed=0,oom_memcg=/m,task_memcg=/m,task=python3,pid=2079,uid=0",
        "3,900,1,-;Out of memory: Killed process 2079 (train) total-vm:1kB",
        "3,900,1,-;Out of memory: Kill process 2079 (train) score 905 or sacrifice child",
        "3,901,1,-;Killed process 2079, UID 1000, (train) total-vm:1kB, anon-rss:1kB",
        "6,902,1,-;oom_reaper: reaped process 2079 (train), now anon-rss:0kB"}) {
    EXPECT_TRUE(TellsOfOutOfMemory(record, 2079)) << record;
    EXPECT_FALSE(TellsOfOutOfMemory(record, 207)) << record;
    EXPECT_FALSE(TellsOfOutOfMemory(record, 79)) << record;
  }
  EXPECT_FALSE(TellsOfOutOfMemory("6,4060,1,-;[   2079]     0  2079    80942 python3", 2079));
}

// NOLINTEND(bugprone-suspicious-missing-comma): several lines, one literal each

}  // namespace
}  // namespace muster
