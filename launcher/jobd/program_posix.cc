#include "launcher/jobd/program_posix.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "launcher/jobd/spawn_posix.h"
#include "runtime/base/file_posix.h"

namespace muster {
namespace {

constexpr int kNotFound = 127, kNotExecutable = 126;

bool IsFolder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// As uname -m says it; "" for what it has no word for here.
std::string MachineOf(std::uint16_t elf_machine) {
  switch (elf_machine) {
    case EM_X86_64:
      return "x86_64";
    case EM_AARCH64:
      return "aarch64";
    case EM_386:
      return "i386";
    case EM_ARM:
      return "arm";
    case EM_PPC64:
      return "ppc64";
    case EM_RISCV:
      return "riscv64";
    default:
      return "";
  }
}

std::string ThisMachine() {
  utsname name{};
  return uname(&name) == 0 ? name.machine : "";
}

std::string WhyNotThisMachine(std::string_view head) {
  Elf64_Ehdr header{};  // The fields up to e_machine are the same for 32 bits.
  std::memcpy(&header, head.data(), std::min(head.size(), sizeof header));
  const std::string built_for = MachineOf(header.e_machine), here = ThisMachine();
  // An x86_64 runs i386 programs, an aarch64 those of arm, where they are set up for it.
  const bool other = built_for != here && built_for != "i386" && built_for != "arm";
  if (!other) return "";
  return "it was built for " +
         (built_for.empty() ? "machine type " + std::to_string(header.e_machine) : built_for) +
         ", and this node is " + here;
}

std::string WhyNoInterpreter(std::string_view head) {
  std::string_view line = head.substr(2, head.find('\n') - 2);
  const std::size_t begin = line.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return "";
  line.remove_prefix(begin);
  const std::string interpreter(line.substr(0, line.find_first_of(" \t")));
  if (interpreter[0] != '/' || access(interpreter.c_str(), F_OK) == 0) return "";
  if (interpreter.back() == '\r') {
    return "its first line ends with a carriage return, as on Windows, so that its interpreter is "
           "not found; `dos2unix` mends it";
  }
  return "the interpreter " + Quoted(interpreter) + " that its first line names is not there";
}

// "" for what the kernel, or failing that the shell, can run.
std::string WhyNot(const std::string& path, bool& interpreter_missing) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> bytes{};
  const ssize_t n = fd.valid() ? read(fd.get(), bytes.data(), bytes.size()) : 0;
  const std::string_view head(bytes.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  if (head.starts_with(ELFMAG)) return WhyNotThisMachine(head);
  if (!head.starts_with("#!")) return "";
  std::string why = WhyNoInterpreter(head);
  interpreter_missing = !why.empty();
  return why;
}

Cause Refused(const std::string& path, const NodeName& node, const std::string& why, int code) {
  return {.kind = code == kNotFound ? CauseKind::kNotFound : CauseKind::kNotExecutable,
          .node = node,
          .code = code,
          .text = Quoted(path) + " on node " + node + " cannot be run: " + why};
}

}  // namespace

std::string Quoted(const std::string& text) {
  return "'" + text + "'";
}

Cause CheckProgram(const Program& program, const NodeName& node) {
  if (program.argv.empty()) {
    return {.kind = CauseKind::kLaunch, .node = node, .text = "the job has no command"};
  }
  const std::string& name = program.argv[0];
  const bool searched = name.find('/') == std::string::npos;
  std::string refused, why;
  for (const std::string& path : ProgramPaths(name, program.workdir, program.environment)) {
    if (access(path.c_str(), F_OK) != 0) {
      if (searched || errno != EACCES) continue;
      why = "a folder on the way to it cannot be entered";
    } else if (IsFolder(path)) {
      why = "it is a folder";
    } else if (access(path.c_str(), X_OK) != 0) {
      why = "it has no execute permission";
    } else {
      bool interpreter_missing = false;
      why = WhyNot(path, interpreter_missing);
      if (why.empty()) return {};
      return Refused(path, node, why, interpreter_missing ? kNotFound : kNotExecutable);
    }
    refused = path;
  }
  if (!refused.empty()) return Refused(refused, node, why, kNotExecutable);
  return {.kind = CauseKind::kNotFound,
          .node = node,
          .code = kNotFound,
          .text = "program " + Quoted(name) + " was not found on node " + node +
                  (searched ? " in any folder of the job's PATH" : "") +
                  "; it must be there under the same name on every node"};
}

Cause CannotRun(const std::string& program, const NodeName& node, int error) {
  std::string why = std::strerror(error);
  if (error == ENOENT) why += " (or the interpreter that it names is not there)";
  if (error == ENOEXEC) why += " (a program for another machine, or a damaged one)";
  if (error == E2BIG) {
    why +=
        ": its arguments and environment may have a quarter of the stack limit together (ulimit "
        "-s; at most 6 MiB), and 128 KiB each";
  }
  return {.kind = error == ENOENT ? CauseKind::kNotFound : CauseKind::kNotExecutable,
          .code = error == ENOENT ? kNotFound : kNotExecutable,
          .text = "program " + Quoted(program) + " on node " + node + ": " + why};
}

}  // namespace muster
