#include "runtime/checkpoint/nfs_url.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "runtime/base/text.h"

namespace muster::checkpoint {
namespace {

constexpr char kScheme[] = "nfs://";
constexpr char kForm[] =
    "nfs://HOST[:PORT]/EXPORT[/FOLDER][?mountport=N&nconnect=N&timeout=SECONDS]";
constexpr std::uint64_t kPortMax = 65535;
constexpr std::uint64_t kConnectionsMax = 16;  // As the kernel's.
constexpr std::uint64_t kTimeoutMax = 3600;

Status Wrong(const std::string& url, const std::string& what) {
  return Status(Code::kInvalid, "store " + url + ": " + what + "; the form is " + kForm);
}

std::optional<std::uint64_t> Between(const std::string& text, std::uint64_t low,
                                     std::uint64_t high) {
  const auto number = ParseUnsigned(text);
  if (!number.has_value() || *number < low || *number > high) return std::nullopt;
  return number;
}

// "HOST", "HOST:PORT", "[V6]", "[V6]:PORT"; what is wrong, or nothing.
std::string TakeHost(const std::string& authority, NfsUrl& url) {
  std::string port;
  bool has_port = false;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string::npos) return "the address '" + authority + "' has no ']'";
    url.host = authority.substr(1, end - 1);
    const std::string rest = authority.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return "'" + rest + "' stands behind the address";
    has_port = !rest.empty();
    port = has_port ? rest.substr(1) : "";
  } else {
    const std::size_t colon = authority.find(':');
    if (colon != authority.rfind(':')) {
      return "the address '" + authority + "' has several ':' (IPv6 is written [ADDRESS])";
    }
    has_port = colon != std::string::npos;
    url.host = authority.substr(0, colon);
    port = has_port ? authority.substr(colon + 1) : "";
  }
  if (url.host.empty()) return "it names no host";
  if (url.host.find_first_of(" @?&#\t\n") != std::string::npos) {
    return "the host '" + url.host + "' has a character that no host has (a user is not given)";
  }
  if (!has_port) return "";
  const auto number = Between(port, 1, kPortMax);
  if (!number.has_value()) return "the port '" + port + "' is not 1 to 65535";
  url.port = static_cast<std::uint16_t>(*number);
  return "";
}

std::string TakePath(std::string path, NfsUrl& url) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (path.empty() || path == "/") return "it names no export";
  const std::vector<std::string> names = Split(path.substr(1), '/');
  for (const std::string& name : names) {
    if (name.empty() || name == "." || name == "..") {
      return "the path '" + path + "' has an empty part, '.' or '..'";
    }
    if (name.size() > 255) return "the path has a name of over 255 bytes";
  }
  if (path.find('%') != std::string::npos) return "'%' is not decoded: write the name as it is";
  url.path = std::move(path);
  return "";
}

std::string TakeOption(const std::string& option, NfsUrl& url) {
  const std::size_t equals = option.find('=');
  const std::string key = option.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
  if (key == "mountport") {
    const auto port = Between(value, 1, kPortMax);
    if (!port.has_value()) return "mountport=" + value + " is not 1 to 65535";
    url.mountport = static_cast<std::uint16_t>(*port);
  } else if (key == "nconnect") {
    const auto count = Between(value, 1, kConnectionsMax);
    if (!count.has_value()) return "nconnect=" + value + " is not 1 to 16";
    url.nconnect = static_cast<std::uint32_t>(*count);
  } else if (key == "timeout") {
    const auto seconds = Between(value, 1, kTimeoutMax);
    if (!seconds.has_value()) return "timeout=" + value + " is not 1 to 3600 seconds";
    url.timeout = std::chrono::seconds(*seconds);
  } else {
    const auto nearest = Nearest(key, {"mountport", "nconnect", "timeout"});
    return "unknown option '" + key + "'" +
           (nearest.has_value() ? ", did you mean " + *nearest + "?" : "");
  }
  return "";
}

std::string HostText(const NfsUrl& url) {
  return url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]";
}

}  // namespace

bool IsNfsUrl(const std::string& store) {
  return store.starts_with(kScheme);
}

Result<NfsUrl> ParseNfsUrl(const std::string& url) {
  if (!IsNfsUrl(url)) return Wrong(url, "it does not begin with nfs://");
  NfsUrl parsed;
  const std::string rest = url.substr(sizeof kScheme - 1);
  const std::size_t question = rest.find('?');
  const std::string place = rest.substr(0, question);
  const std::size_t slash = place.find('/');
  std::string wrong = TakeHost(place.substr(0, slash), parsed);
  if (wrong.empty()) {
    wrong = TakePath(slash == std::string::npos ? "" : place.substr(slash), parsed);
  }
  if (wrong.empty() && question != std::string::npos) {
    for (const std::string& option : Split(rest.substr(question + 1), '&')) {
      if (wrong.empty()) wrong = TakeOption(option, parsed);
    }
  }
  if (!wrong.empty()) return Wrong(url, wrong);
  return parsed;
}

std::string ShortText(const NfsUrl& url) {
  return kScheme + HostText(url) + (url.port == 2049 ? "" : ":" + std::to_string(url.port)) +
         url.path;
}

std::string MountLine(const NfsUrl& url, const std::string& mount_point) {
  return "mount -t nfs -o "
         "vers=4.1,proto=tcp,hard,nconnect=8,rsize=1048576,wsize=1048576,timeo=600," +
         std::string("noatime") + (url.port == 2049 ? "" : ",port=" + std::to_string(url.port)) +
         " " + HostText(url) + ":" + url.path + " " + mount_point;
}

}  // namespace muster::checkpoint
