#include <gtest/gtest.h>

#include "runtime/base/env_posix.h"
#include "runtime/base/lean_start.h"
#include "tests/fakes/fake_jobd_posix.h"
#include "tests/integration/lib/clean_test.h"
#include "tests/integration/train/program_posix.h"

namespace muster::testing {
namespace {

// The suite of tests/unit/comm over the backends that need MPI.
class Groups : public CleanTest {
 protected:
  Groups() {
    SetEnv("OMPI_MCA_pml", "ob1");
    for (const LeanSetting& setting : kLeanHwloc) SetEnv(setting.name, setting.value);
    SetEnv("OMPI_MCA_mpi_yield_when_idle", "1");
  }

  static void Mpirun(int ranks, const std::vector<std::string>& arguments,
                     const std::string& backend) {
    const std::string size = std::to_string(ranks);
    std::vector<std::string> words = {"mpirun",
                                      "--allow-run-as-root",
                                      "--oversubscribe",
                                      "--quiet",
                                      "--tag-output",
                                      "-np",
                                      size,
                                      CONFORMANCE};
    words.insert(words.end(), arguments.begin(), arguments.end());
    Judge(RunProgram(words), ranks, backend);
  }

  template <typename End>
  static void Judge(const End& end, int ranks, const std::string& backend) {
    EXPECT_EQ(end.exit_code, 0);
    EXPECT_EQ(end.output.find("broken: "), std::string::npos) << end.output;
    for (int rank = 0; rank < ranks; ++rank) {
      const std::string words = "rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                                ": " + backend + ", node 0, local rank " + std::to_string(rank) +
                                ", 0 broken";
      EXPECT_NE(end.output.find(words), std::string::npos) << words << " in\n" << end.output;
    }
  }
};

TEST_F(Groups, MpiKeepsThePromisesOfEveryGroup) {
  for (const int ranks : {1, 2, 3, 5}) Mpirun(ranks, {}, "mpi");
}

TEST_F(Groups, HybridKeepsThePromisesOfEveryGroupOnOneNode) {
  for (const int ranks : {1, 2, 8}) Mpirun(ranks, {"hybrid", "1"}, "hybrid");
}

// 3 + 2, 2 + 2, and a rank each.
TEST_F(Groups, HybridKeepsThePromisesOfEveryGroupOverNodes) {
  Mpirun(5, {"hybrid", "2"}, "hybrid");
  Mpirun(4, {"hybrid", "2"}, "hybrid");
  Mpirun(3, {"hybrid", "3"}, "hybrid");
}

TEST_F(Groups, HybridFindsTheNodesOfAJobDaemon) {
  FakeJobd jobd(scene_.folder(), {.nodes = 2, .per_node = 2});
  Judge(jobd.RunAttempt({CONFORMANCE, "hybrid"}, {}), 4, "hybrid");
}

}  // namespace
}  // namespace muster::testing
