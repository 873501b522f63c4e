// The tree obeys its rules, and each rule has teeth: a planted violation is found.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/rules/law.h"

namespace muster::rules {
namespace {

namespace fs = std::filesystem;

std::vector<File> ReadTree(const fs::path& root) {
  std::vector<File> tree;
  auto walk = fs::recursive_directory_iterator(root);
  for (const auto& entry : walk) {
    const std::string name = entry.path().filename().string();
    const std::string path = fs::relative(entry.path(), root).generic_string();
    if (entry.is_directory()) {
      if (name.starts_with(".") || path == "build") walk.disable_recursion_pending();
      continue;
    }
    if (!IsSource(path) && !path.ends_with(".proto") && name != "CMakeLists.txt") continue;
    std::ifstream in(entry.path(), std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    tree.push_back({path, text.str()});
  }
  std::sort(tree.begin(), tree.end(), [](const File& a, const File& b) { return a.path < b.path; });
  return tree;
}

std::string Print(const std::vector<Breach>& breaches) {
  std::ostringstream out;
  for (const Breach& breach : breaches) {
    out << breach.path << ":" << breach.line << ": [" << breach.rule << "] " << breach.what << "\n";
  }
  return out.str();
}

TEST(Rules, TheTreeObeysThem) {
  const Judgement judgement = Judge(ReadTree(MUSTER_ROOT), Pardons());
  for (const std::string& note : judgement.notes) std::cout << "note: " << note << "\n";
  std::cout << judgement.sources << " sources\n";
  EXPECT_TRUE(judgement.breaches.empty()) << Print(judgement.breaches);
}

std::string ReadFile(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(Rules, MessagesAreThoseThatOlderPeersKnow) {
  Judgement judgement;
  const std::string record = ReadFile(fs::path(MUSTER_ROOT) / "tests/rules/wire_members.txt");
  EXPECT_FALSE(record.empty());
  JudgeWire(ReadTree(MUSTER_ROOT), record, &judgement);
  EXPECT_TRUE(judgement.breaches.empty()) << Print(judgement.breaches);
}

TEST(Rules, AMemberThatMovedIsFound) {
  const std::string path = "runtime/base/a.h";
  const auto breaches = [&](const std::string& members, const std::string& call) {
    const std::string text = "struct A {\n  " + members +
                             "\n  bool operator==(const A&) const = default;\n"
                             "  template <typename A>\n  void Fields(A& a) {\n    a(" +
                             call + ");\n  }\n};\nusing M = std::variant<A, B>;\n";
    Judgement judgement;
    JudgeWire({{path, "\n" + text}},
              path + " A: int x, std::map<int, int> y\n" + path + " M: A, B\n", &judgement);
    return Print(judgement.breaches);
  };
  const std::string same = "int x = 0;  // One.\n  std::map<int, int> y{};";
  EXPECT_EQ(breaches(same, "x, y"), "");
  const std::string broken = "not understood by older peers";
  EXPECT_NE(breaches(same, "y, x").find(broken), std::string::npos);
  EXPECT_NE(breaches(same + " int z = 0;", "x, z, y").find(broken), std::string::npos);
  EXPECT_NE(breaches("long x = 0; std::map<int, int> y;", "x, y").find(broken), std::string::npos);
  EXPECT_NE(breaches(same, "x").find(broken), std::string::npos);
  EXPECT_NE(breaches("using Fixed = void; " + same, "x, y").find(broken), std::string::npos);
  EXPECT_NE(breaches(same + " int z = 0;", "x, y, z").find("needs the line"), std::string::npos);
}

TEST(Rules, AnEmptyWalkIsABreach) {
  const Judgement judgement = Judge({}, {});
  ASSERT_EQ(judgement.breaches.size(), 1u);
  EXPECT_EQ(judgement.breaches[0].rule, "walk");
}

TEST(Rules, EveryPardonHasAReasonAndPardonsSomething) {
  for (const Pardon& pardon : Pardons()) EXPECT_GE(pardon.reason.size(), 10u) << pardon.path;
  const Judgement judgement =
      Judge({{"runtime/base/a.h", "// A.\n#pragma once\n"}},
            {{"runtime/base/a.h", "ban", "throw", "it does not throw any more"}});
  ASSERT_EQ(judgement.breaches.size(), 1u);
  EXPECT_NE(judgement.breaches[0].what.find("nothing any more"), std::string::npos);
}

TEST(Rules, ThePlantedFileInATreeOnDiskIsFound) {
  std::string pattern = (fs::temp_directory_path() / "muster-rules-XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  const fs::path root = pattern;
  fs::create_directories(root / "runtime/base");
  fs::create_directories(root / "build/runtime");
  std::ofstream(root / "runtime/base/CMakeLists.txt") << "muster_library(base SOURCES now.cc)\n";
  std::ofstream(root / "runtime/base/now.cc") << "#include <thread>\n";
  std::ofstream(root / "build/runtime/generated.cc") << "#include <thread>\n";
  const Judgement judgement = Judge(ReadTree(root), {});
  fs::remove_all(root);
  EXPECT_EQ(judgement.sources, 1u);
  ASSERT_EQ(judgement.breaches.size(), 1u) << Print(judgement.breaches);
  EXPECT_EQ(judgement.breaches[0].path, "runtime/base/now.cc");
  EXPECT_EQ(judgement.breaches[0].rule, "world");
}

// ---- Planted violations, one a row
// ----------------------------------------------------------------

struct Plant {
  const char* path;
  std::string text;
  const char* rule;  // Empty: allowed.
};

const std::string kHead = "// A header.\n#pragma once\n";

const std::vector<Plant> kPlants = {
    // Arrows.
    {"runtime/base/a.cc", "#include \"runtime/comm/group.h\"\n", "arrow"},
    {"runtime/comm/a.cc", "#include \"runtime/base/text.h\"\n", ""},
    {"runtime/comm/a.cc", "#include \"runtime/checkpoint/plan.h\"\n", "arrow"},
    {"runtime/checkpoint/a.cc", "#include \"runtime/comm/group.h\"\n", "arrow"},
    {"runtime/train/a.cc", "#include \"runtime/base/text.h\"\n", ""},
    {"runtime/client/a.cc", "#include \"runtime/train/loop.h\"\n", "arrow"},
    {"examples/gpt/a.cc", "#include \"runtime/train/loop.h\"\n", ""},
    {"examples/gpt/a.cc", "#include \"launcher/jobd/jobd.h\"\n", "arrow"},
    {"examples/gpt/a.cc", "#include \"examples/other/b.h\"\n", "arrow"},
    {"launcher/coordinator/a.cc", "#include \"launcher/placement/placement.h\"\n", ""},
    {"launcher/agent/a.cc", "#include \"launcher/placement/placement.h\"\n", "arrow"},
    {"launcher/jobd/a.cc", "#include \"launcher/agent/agent.h\"\n", "arrow"},
    {"launcher/mover/a.cc", "#include \"runtime/checkpoint/store.h\"\n", ""},
    {"launcher/main.cc", "#include \"launcher/jobd/jobd.h\"\n", ""},
    {"launcher/other.cc", "", "arrow"},
    {"launcher/web/a.cc", "", "arrow"},
    {"runtime/checkpoint/stores/a.cc", "", "arrow"},
    {"tools/a.cc", "", "arrow"},
    {"tests/unit/base/a.cc", "#include \"launcher/jobd/jobd.h\"\n", ""},
    {"tests/misc/a.cc", "", "arrow"},
    {"runtime/base/a.cc", "#include \"text.h\"\n", "arrow"},
    {"runtime/base/a_proto.cc", "#include \"muster/v1/job.pb.h\"\n", "arrow"},
    // Worlds.
    {"launcher/agent/a_proto.cc", "#include \"muster/v1/job.pb.h\"\n", ""},
    {"launcher/agent/a.cc", "#include \"muster/v1/job.pb.h\"\n", "world"},
    {"launcher/agent/a_proto.cc", "#include \"muster/v1/job.grpc.pb.h\"\n", "world"},
    {"launcher/agent/a_grpc.cc", "#include \"muster/v1/job.grpc.pb.h\"\n", ""},
    {"launcher/agent/a.cc", "#include <grpcpp/server.h>\n", "world"},
    {"launcher/cli/a.cc", "#include <yaml-cpp/yaml.h>\n", "world"},
    {"launcher/cli/a_yaml.cc", "#include <yaml-cpp/yaml.h>\n", ""},
    {"launcher/jobd/a.cc", "#include <event2/event.h>\n", "world"},
    {"launcher/jobd/a_event.cc", "#include <event2/event.h>\n#include <openssl/ssl.h>\n", ""},
    {"launcher/jobd/a_posix.cc", "#include <openssl/ssl.h>\n", "world"},
    {"launcher/coordinator/a.cc", "#include <sqlite3.h>\n", "world"},
    {"launcher/jobd/a_event.cc", "#include <pmix_server.h>\n", "world"},
    {"runtime/comm/a.cc", "#include <mpi.h>\n", "world"},
    {"runtime/comm/a_mpi.cc", "#include <mpi.h>\n", ""},
    {"runtime/comm/a_nccl.cc", "#include <nccl.h>\n#include <cuda_runtime.h>\n", ""},
    {"runtime/train/a.cc", "#include <cblas-openblas.h>\n", "world"},
    {"runtime/checkpoint/a.cc", "#include <nfsc/libnfs.h>\n", "world"},
    {"launcher/agent/a.cc", "#include <nvml.h>\n", "world"},
    {"launcher/agent/a.cc", "#include <hwloc.h>\n", "world"},
    {"runtime/base/a.cc", "#include <thread>\n", "world"},
    {"runtime/base/a.cc", "#include <mutex>\n", "world"},
    {"runtime/base/a.cc", "#include <fstream>\n", "world"},
    {"runtime/base/a.cc", "#include <iostream>\n", "world"},
    {"runtime/base/a.cc", "#include <unistd.h>\n", "world"},
    {"runtime/base/a.cc", "#include <sys/stat.h>\n", "world"},
    {"runtime/base/a_posix.cc", "#include <sys/stat.h>\n", ""},
    {"runtime/base/a_yaml.cc", "#include <sys/stat.h>\n", "world"},
    {"runtime/base/a.cc", "#include <unheard_of.h>\n", "world"},
    {"runtime/base/a.cc", "#include <isa-l/crc.h>\n", ""},
    {"runtime/base/a.cc", "#include \"runtime/base/file_posix.h\"\n", "world"},
    {"runtime/base/a.cc", "#include \"runtime/base/mutex.h\"\n", "world"},
    {"runtime/base/a_posix.cc", "#include \"runtime/base/file_posix.h\"\n", ""},
    // Bans.
    {"runtime/base/a.cc", "auto t = std::chrono::steady_clock::now();\n", "ban"},
    {"runtime/base/a_posix.cc", "auto t = std::chrono::steady_clock::now();\n", "ban"},
    {"runtime/base/a.cc", "auto t = RealClock().Now();\n", "ban"},
    {"runtime/base/a_posix.cc", "auto t = RealClock().Now();\n", ""},
    {"runtime/base/a.cc", "const char* x = getenv(\"X\");\n", "ban"},
    {"runtime/base/a_posix.cc", "const char* x = std::getenv(\"X\");\n", "ban"},
    {"runtime/base/a.cc", "std::random_device seed;\n", "ban"},
    {"tests/sim/a.cc", "std::random_device seed;\n", "ban"},
    {"runtime/base/a_posix.cc", "usleep(5);\n", "ban"},
    {"tests/unit/base/a.cc", "std::this_thread::sleep_for(1ms);\n", "ban"},
    {"tests/integration/a.cc", "std::this_thread::sleep_for(1ms);\n", ""},
    {"runtime/base/a.cc", "std::cout << 1;\n", "ban"},
    {"runtime/base/a_posix.cc", "std::cout << 1;\n", ""},
    {"runtime/base/a.cc", "std::printf(\"x\");\n", "ban"},
    {"runtime/base/a.cc", "std::snprintf(b, 2, \"x\");\n", ""},
    {"runtime/base/a.cc", "Log(LogLevel::kInfo, \"x\");\n", "ban"},
    {"runtime/base/a_posix.cc", "std::mutex m;\n", "ban"},
    {"runtime/base/a_posix.cc", "throw 1;\n", "ban"},
    {"runtime/base/a_posix.cc", "throws_nothing();  // throw, getenv( and sleep(\n", ""},
    {"runtime/base/a_posix.cc", "Say(\"throw \\\" sleep(1)\"); Say(R\"(\"usleep(1))\");\n", ""},
    {"runtime/base/a_posix.cc", "int n = 1'000; usleep(n); int m = 1'000;\n", "ban"},
    {"runtime/base/a_posix.cc", "/* usleep(1)\n usleep(2) */ int a;\n", ""},
    {"runtime/base/a_posix.cc", "/* */ usleep(1);\n", "ban"},
    {"runtime/base/a_posix.cc", "using namespace std;\n", "ban"},
    {"runtime/base/a_posix.cc", "static_assert(true);\n", ""},
    {"runtime/base/a.cc", "// TODO: later\n", "ban"},
    {"runtime/base/a.cc", "// TODO(#12): later\n", ""},
    {"runtime/base/a.cc", "// FIXME\n", "ban"},
    {"runtime/base/a.cc", "int a;  // NOLINT\n", "ban"},
    {"runtime/base/a.cc", "int a;  // NOLINT(x-y): the library wants it so\n", ""},
    // Names and sizes.
    {"runtime/base/JobState.cc", "", "name"},
    {"runtime/base/a.cpp", "", "name"},
    {"runtime/base/a.cc", "class JobManager {};\n", "name"},
    {"runtime/base/a.cc", "struct ManagerOfNothing {};\n", ""},
    {"runtime/base/a.h", "#pragma once\n", "name"},
    {"runtime/base/a.h", "// A header.\n", "name"},
    {"runtime/base/a.h", kHead, ""},
    {"runtime/base/a.cc", "// " + std::string(97, 'x') + "\n", ""},
    {"runtime/base/a.cc", "// " + std::string(98, 'x') + "\n", "size"},
    {"runtime/base/a.h", kHead + std::string(198, '\n'), ""},
    {"runtime/base/a.h", kHead + std::string(199, '\n'), "size"},
    {"runtime/base/a.cc", std::string(400, '\n'), ""},
    {"runtime/base/a.cc", std::string(401, '\n'), "size"},
    {"tests/unit/base/a.cc", std::string(800, '\n'), ""},
    {"tests/unit/base/a.cc", std::string(801, '\n'), "size"},
};

TEST(Rules, EveryPlantedViolationIsFoundAndNothingElse) {
  for (const Plant& plant : kPlants) {
    Judgement found;
    JudgeSource({plant.path, plant.text}, &found);
    SCOPED_TRACE(std::string(plant.path) + ":\n" + plant.text.substr(0, 200));
    if (*plant.rule == '\0') {
      EXPECT_TRUE(found.breaches.empty()) << Print(found.breaches);
    } else {
      ASSERT_EQ(found.breaches.size(), 1u) << Print(found.breaches);
      EXPECT_EQ(found.breaches[0].rule, plant.rule);
    }
  }
}

TEST(Rules, EveryArrowLeadsToAFolderOfTheTableAndNoneLeadsBack) {
  for (const auto& [folder, arrows] : Arrows()) {
    for (const std::string& arrow : arrows) {
      EXPECT_TRUE(Arrows().contains(arrow)) << folder << " -> " << arrow;
      const std::vector<std::string> back = Reach(arrow);
      EXPECT_EQ(std::count(back.begin(), back.end(), folder), 0) << folder << " <-> " << arrow;
    }
  }
}

TEST(Rules, AnRpcListsItsStatusCodes) {
  Judgement found;
  JudgeProto(
      {"proto/muster/v1/a.proto",
       "service A {\n  // Says it.  INVALID_ARGUMENT: it is empty.\n  rpc Say(X) returns (Y);\n"
       "  // Hears it.\n  rpc Hear(X) returns (Y);\n}\n"},
      &found);
  ASSERT_EQ(found.breaches.size(), 1u) << Print(found.breaches);
  EXPECT_EQ(found.breaches[0].line, 5u);
}

// ---- CMake
// ---------------------------------------------------------------------------------------

std::vector<Breach> Built(const std::string& folder, const std::string& cmake,
                          const std::vector<std::string>& sources) {
  std::vector<File> tree = {
      {"runtime/base/CMakeLists.txt",
       "muster_library(base_core SOURCES text.cc)\n"
       "muster_library(base SOURCES file_posix.cc DEPENDS base_core)\n"},
      {"runtime/comm/CMakeLists.txt", "muster_library(comm SOURCES group.cc)  # comm\n"},
      {"proto/muster/v1/CMakeLists.txt", "add_library(muster_proto STATIC ${generated})\n"},
  };
  const auto same = std::find_if(tree.begin(), tree.end(), [&](const File& file) {
    return file.path == folder + "/CMakeLists.txt";
  });
  if (same == tree.end()) {
    tree.push_back({folder + "/CMakeLists.txt", cmake});
  } else {
    same->text += cmake;
  }
  for (const std::string& source : sources) tree.push_back({source, ""});
  Judgement judgement;
  JudgeCmake(tree, &judgement);
  return judgement.breaches;
}

TEST(Rules, LinkListsAreTheArrows) {
  const std::string checkpoint = "muster_library(checkpoint SOURCES a_posix.cc DEPENDS ";
  EXPECT_TRUE(Built("runtime/checkpoint", checkpoint + "base)", {}).empty());
  EXPECT_EQ(Built("runtime/checkpoint", checkpoint + "base comm)", {}).size(), 1u);
  EXPECT_EQ(Built("runtime/checkpoint",
                  "add_library(checkpoint a_posix.cc)\n"
                  "target_link_libraries(checkpoint\n  PUBLIC base # ok\n  PRIVATE comm)",
                  {})
                .size(),
            1u);
  EXPECT_EQ(Built("runtime/checkpoint", checkpoint + "muster_proto)", {}).size(), 1u);
  EXPECT_TRUE(Built("launcher/agent",
                    "muster_library(agent SOURCES a_grpc.cc DEPENDS base muster_proto)", {})
                  .empty());
}

TEST(Rules, ACoreTargetLinksNoRim) {
  EXPECT_TRUE(
      Built("launcher/placement", "muster_library(placement SOURCES a.cc DEPENDS base_core)", {})
          .empty());
  EXPECT_EQ(
      Built("launcher/placement", "muster_library(placement SOURCES a.cc DEPENDS base)", {}).size(),
      1u);
  EXPECT_EQ(
      Built("launcher/placement", "muster_library(placement SOURCES a.cc DEPENDS yaml-cpp)", {})
          .size(),
      1u);
  EXPECT_EQ(Built("runtime/base", "muster_library(more_core SOURCES a_posix.cc)", {}).size(), 1u);
}

TEST(Rules, EverySourceIsBuilt) {
  EXPECT_TRUE(Built("tests/unit", "muster_test(a_test SOURCES base/a_test.cc)",
                    {"tests/unit/base/a_test.cc", "runtime/base/text.cc", "runtime/base/text.h"})
                  .empty());
  const std::vector<Breach> found =
      Built("tests/unit", "# muster_test(a_test SOURCES a_test.cc)\n", {"tests/unit/a_test.cc"});
  ASSERT_EQ(found.size(), 1u) << Print(found);
  EXPECT_EQ(found[0].path, "tests/unit/a_test.cc");
}

}  // namespace
}  // namespace muster::rules
