#include "launcher/cli/section_yaml.h"

#include <algorithm>
#include <set>

#include "launcher/cli/duration.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::string Quote(const std::string& text) {
  return "'" + (text.size() > 60 ? text.substr(0, 57) + "..." : text) + "'";
}

}  // namespace

std::string Describe(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return Quote(node.Scalar());
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Map:
      return "a map";
    default:
      return "nothing";
  }
}

YAML::Node ParseYaml(const std::string& text, Mistakes& mistakes) {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& error) {
    mistakes.push_back({error.mark.line + 1, error.mark.column + 1, "not YAML: " + error.msg});
    return YAML::Node();
  }
}

Section::Section(const YAML::Node& map, std::string path, Mistakes& mistakes)
    : map_(map), path_(std::move(path)), mistakes_(mistakes) {
  std::set<std::string> seen;
  for (const auto& entry : map_) {
    if (!entry.first.IsScalar()) {
      Note(entry.first.Mark(), "a key must be a word, found " + Describe(entry.first));
    } else if (!seen.insert(entry.first.Scalar()).second) {
      Note(entry.first.Mark(), "the key " + Quote(Path(entry.first.Scalar())) + " stands twice");
    }
  }
}

void Section::Note(const YAML::Mark& mark, const std::string& what) {
  mistakes_.push_back({mark.line + 1, mark.column + 1, what});
}

std::string Section::Path(const std::string& key) const {
  return path_.empty() ? key : path_ + "." + key;
}

YAML::Node Section::Find(const std::string& key) {
  known_.push_back(key);
  for (const auto& entry : map_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key) {
      return entry.second.IsNull() ? YAML::Node() : entry.second;
    }
  }
  return YAML::Node();
}

bool Section::Has(const std::string& key) {
  const YAML::Node value = Find(key);
  known_.pop_back();
  return !value.IsNull();
}

bool Section::HasMap(const std::string& key) {
  const YAML::Node value = Find(key);
  known_.pop_back();
  return value.IsMap();
}

void Section::Wrong(const std::string& key, const std::string& what) {
  const YAML::Node value = Find(key);
  known_.pop_back();
  Note(value.IsNull() ? map_.Mark() : value.Mark(), Quote(Path(key)) + " " + what);
}

void Section::Text(const std::string& key, std::string& out) {
  const YAML::Node value = Find(key);
  if (value.IsNull()) return;
  if (!value.IsScalar()) return Wrong(key, "must be a text, found " + Describe(value));
  out = value.Scalar();
}

void Section::Count(const std::string& key, std::uint32_t& out, Bounds bounds) {
  const YAML::Node value = Find(key);
  if (value.IsNull()) return;
  const auto number = value.IsScalar() ? ParseUnsigned(value.Scalar()) : std::nullopt;
  if (number && *number >= bounds.least && *number <= bounds.most) {
    out = static_cast<std::uint32_t>(*number);
    return;
  }
  const bool open = bounds.most == std::numeric_limits<std::uint32_t>::max();
  Wrong(key, "must be a whole number " +
                 (open ? "of at least " + std::to_string(bounds.least)
                       : std::to_string(bounds.least) + ".." + std::to_string(bounds.most)) +
                 ", found " + Describe(value));
}

void Section::Flag(const std::string& key, bool& out) {
  const YAML::Node value = Find(key);
  if (value.IsNull()) return;
  if (value.IsScalar() && (value.Scalar() == "true" || value.Scalar() == "false")) {
    out = value.Scalar() == "true";
    return;
  }
  Wrong(key, "must be true or false, found " + Describe(value));
}

void Section::DurationMs(const std::string& key, std::uint32_t& out) {
  const YAML::Node value = Find(key);
  if (value.IsNull()) return;
  if (!value.IsScalar()) {
    return Wrong(key, "must be a length of time such as 30s, found " + Describe(value));
  }
  const auto length = ParseDuration(value.Scalar());
  if (!length.ok()) return Wrong(key, "is wrong: " + length.status().message());
  if (length->count() > std::numeric_limits<std::uint32_t>::max()) {
    return Wrong(key, "is at most 49d, found " + Describe(value));
  }
  out = static_cast<std::uint32_t>(length->count());
}

void Section::Texts(const std::string& key, std::vector<std::string>& out) {
  const YAML::Node value = Find(key);
  if (value.IsNull()) return;
  std::vector<std::string> texts;
  bool good = value.IsSequence();
  for (const auto& item : value) {
    good = good && item.IsScalar();
    if (good) texts.push_back(item.Scalar());
  }
  if (!good) return Wrong(key, "must be a list of texts, such as [a, b], found " + Describe(value));
  out = std::move(texts);
}

void Section::Numbers(const std::string& key, std::vector<std::int32_t>& out) {
  const YAML::Node value = Find(key);
  if (value.IsNull()) return;
  std::vector<std::int32_t> numbers;
  if (!value.IsSequence()) {
    return Wrong(key, "must be a list of whole numbers, such as [1, 2], found " + Describe(value));
  }
  for (const auto& item : value) {
    const auto number = item.IsScalar() ? ParseSigned(item.Scalar()) : std::nullopt;
    if (!number || *number < 0 || *number > 255) {
      Note(item.Mark(),
           Quote(Path(key)) + " must hold whole numbers 0..255, found " + Describe(item));
      continue;
    }
    numbers.push_back(static_cast<std::int32_t>(*number));
  }
  out = std::move(numbers);
}

void Section::Environment(const std::string& key, std::vector<std::string>& out) {
  for (const auto& entry : Map(key)) {
    if (!entry.first.IsScalar()) continue;
    const std::string name = entry.first.Scalar();
    if (name.empty() || name.find('=') != std::string::npos) {
      Note(entry.first.Mark(), Quote(name) + " cannot be the name of a variable");
    } else if (entry.second.IsScalar()) {
      out.push_back(name + "=" + entry.second.Scalar());
    } else {
      Note(entry.second.IsNull() ? entry.first.Mark() : entry.second.Mark(),
           Quote(Path(key) + "." + name) + " must be a text, found " + Describe(entry.second));
    }
  }
}

YAML::Node Section::Map(const std::string& key) {
  const YAML::Node value = Find(key);
  if (value.IsNull() || value.IsMap()) return value;
  Wrong(key, "must be a map, found " + Describe(value));
  return YAML::Node();
}

YAML::Node Section::List(const std::string& key) {
  const YAML::Node value = Find(key);
  if (value.IsNull() || value.IsSequence()) return value;
  Wrong(key, "must be a list, found " + Describe(value));
  return YAML::Node();
}

void Section::NotYet(const std::string& key) {
  Refuse(key, "is not supported yet by this version of muster; remove it");
}

void Section::Refuse(const std::string& key, const std::string& why) {
  const YAML::Node value = Find(key);
  known_.pop_back();
  not_yet_.push_back(key);
  if (!value.IsNull()) Wrong(key, why);
}

void Section::Done() {
  for (const auto& entry : map_) {
    if (!entry.first.IsScalar()) continue;
    const std::string& key = entry.first.Scalar();
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    if (std::find(not_yet_.begin(), not_yet_.end(), key) != not_yet_.end()) continue;
    const auto nearest = Nearest(key, known_);
    std::vector<std::string> sorted = known_;
    std::sort(sorted.begin(), sorted.end());
    Note(entry.first.Mark(), "unknown key " + Quote(Path(key)) +
                                 (nearest ? "; did you mean '" + *nearest + "'?" : "") +
                                 " (known: " + Join(sorted, ", ") + ")");
  }
}

}  // namespace muster
