#include "tests/integration/cli/cli_test.h"

#include <algorithm>
#include <filesystem>

#include "runtime/base/check.h"
#include "runtime/base/text.h"

namespace muster::testing {

Command& TheCommand() {
  static Command command;
  return command;
}

CliTest::CliTest() {
  // As /tmp and a state folder of root's are: its agents serve all users.
  CHECK(chmod(scene_.folder().c_str(), 0711) == 0);
  if (geteuid() != 0 || TheCommand().uid == 0) return;
  for (const char* name : {"", "/home", "/run", "/state", "/tmp"}) {
    const std::string path = scene_.folder() + name;
    CHECK(chown(path.c_str(), TheCommand().uid, TheCommand().uid) == 0);
  }
}

std::unique_ptr<Program> CliTest::Start(const std::vector<std::string>& arguments,
                                        const std::vector<std::string>& environment) {
  return std::make_unique<Program>(
      TheCommand().muster, arguments,
      StartOptions{.uid = TheCommand().uid, .environment = environment, .folder = scene_.folder()});
}

CliTest::Outcome CliTest::Run(const std::vector<std::string>& arguments,
                              const std::vector<std::string>& environment) {
  const auto program = Start(arguments, environment);
  const int exit = program->Wait();
  return {.exit = exit, .out = program->out(), .err = program->err()};
}

std::unique_ptr<Program> CliTest::StartScript(const std::vector<std::string>& options,
                                              const std::string& script) {
  std::vector<std::string> arguments = {"run"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  for (const std::string& last : {std::string("--"), std::string("/bin/sh"), std::string("-c")}) {
    arguments.push_back(last);
  }
  arguments.push_back(script);
  return Start(arguments);
}

CliTest::Outcome CliTest::RunScript(const std::vector<std::string>& options,
                                    const std::string& script) {
  const auto program = StartScript(options, script);
  const int exit = program->Wait();
  return {.exit = exit, .out = program->out(), .err = program->err()};
}

std::string CliTest::Write(const std::string& name, const std::string& text, mode_t mode) {
  const std::string path = Path(name);
  std::ofstream(path, std::ios::binary) << text;
  CHECK(chmod(path.c_str(), mode) == 0);
  if (geteuid() == 0) CHECK(chown(path.c_str(), TheCommand().uid, TheCommand().uid) == 0);
  return path;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines = Split(text, '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace muster::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (argc < 2) return 1;
  muster::testing::TheCommand().muster = std::filesystem::absolute(argv[1]);
  if (argc > 2) {
    if (geteuid() != 0) {
      // Counted as skipped by whoever reads: there is nobody else that we could be.
      std::fprintf(stderr, "skipped: needs root to be another user\n");
      return 77;
    }
    muster::testing::TheCommand().uid = static_cast<uid_t>(std::stoul(argv[2]));
  }
  return RUN_ALL_TESTS();
}
