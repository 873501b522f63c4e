#include "tests/integration/lib/clean_test.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "runtime/base/check.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/file_posix.h"
#include "tests/integration/lib/machine_posix.h"

namespace muster::testing {

namespace fs = std::filesystem;

Scene::Scene() {
  static int count = 0;
  mark_ = std::to_string(getpid()) + "-" + std::to_string(++count);
  std::string pattern = "/tmp/muster-test-" + std::to_string(getpid()) + "-XXXXXX";
  CHECK(mkdtemp(pattern.data()) != nullptr);
  folder_ = pattern;
  for (const char* name : {"home", "run", "state", "tmp"})
    fs::create_directory(folder_ + "/" + name);
  SetEnv("MUSTER_TEST_MARK", mark_);
  SetEnv("HOME", folder_ + "/home");
  SetEnv("TMPDIR", folder_ + "/tmp");
  SetEnv("XDG_RUNTIME_DIR", folder_ + "/run");
  SetEnv("MUSTER_STATE_DIR", folder_ + "/state");
  before_ = LookAtMachine(mark_);
  for (const std::string& file : before_.files) {
    if (!file.starts_with(folder_)) std::printf("there before this test: %s\n", file.c_str());
  }
}

Scene::~Scene() {
  const std::string error = Remove();
  if (!error.empty()) std::printf("%s\n", error.c_str());
}

std::string Scene::Remove() {
  if (folder_.empty()) return "";
  std::error_code error;
  fs::remove_all(folder_, error);
  if (error) return "folder " + folder_ + " cannot be removed: " + error.message();
  folder_.clear();
  return "";
}

std::vector<std::string> Scene::Leftovers(int patience_ms) const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (true) {
    std::vector<std::string> found = WhatRemains(before_, LookAtMachine(mark_));
    for (const auto& entry : fs::directory_iterator(folder_ + "/run")) {
      found.push_back("file " + entry.path().string() + " is still there");
    }
    if (found.empty() || std::chrono::steady_clock::now() >= deadline) return found;
    // Nothing tells when a file or a mount goes away, so look again.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void Scene::EndProcesses() const {
  const Traces now = LookAtMachine(mark_);
  for (const auto& [pid, command] : now.processes) {
    if (before_.processes.contains(pid)) continue;
    // One without any mark may be of somebody else's cluster.
    const auto environment = ReadFile("/proc/" + std::to_string(pid) + "/environ");
    const bool ours = environment.ok() && MarksOf(*environment).test == mark_;
    if (ours || command.find(folder_) != std::string::npos) kill(pid, SIGKILL);
  }
}

void CleanTest::TearDown() {
  for (const std::string& sentence : scene_.Leftovers())
    ADD_FAILURE() << "left behind: " << sentence;
  if (HasFailure()) scene_.EndProcesses();
  const std::string error = scene_.Remove();
  if (!error.empty()) ADD_FAILURE() << error;
}

}  // namespace muster::testing
