// One map of a YAML file, read key by key; every mistake is noted where it stands, none stops.
//
//   Section top(root, "", mistakes);
//   top.Count("nodes", spec.nodes, {.least = 1});
//   top.Done();   // What nobody asked for is an unknown key.
//
// A getter leaves its target alone when the key is missing, null or wrong.  One thread.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "launcher/cli/mistakes.h"

namespace muster {

struct Bounds {
  std::uint32_t least = 0;
  std::uint32_t most = std::numeric_limits<std::uint32_t>::max();
};

class Section {
 public:
  // `path`: how people would name it, such as "restart" or "nodes[2]"; empty at the top.
  Section(const YAML::Node& map, std::string path, Mistakes& mistakes);

  bool Has(const std::string& key);
  bool HasMap(const std::string& key);
  void Text(const std::string& key, std::string& out);
  void Count(const std::string& key, std::uint32_t& out, Bounds bounds = {});
  void Flag(const std::string& key, bool& out);
  void DurationMs(const std::string& key, std::uint32_t& out);
  void Texts(const std::string& key, std::vector<std::string>& out);
  void Numbers(const std::string& key, std::vector<std::int32_t>& out);
  // {NAME: value}, as NAME=value, in the order of the file.
  void Environment(const std::string& key, std::vector<std::string>& out);
  // Null when missing; a value of another kind is a mistake and null.
  YAML::Node Map(const std::string& key);
  YAML::Node List(const std::string& key);
  // In the design, but not in this version: an error, never ignored.
  void NotYet(const std::string& key);
  // Known, but not to be had here.
  void Refuse(const std::string& key, const std::string& why);
  void Wrong(const std::string& key, const std::string& what);  // Noted at the key's value.

  void Done();

 private:
  YAML::Node Find(const std::string& key);
  void Note(const YAML::Mark& mark, const std::string& what);
  std::string Path(const std::string& key) const;

  YAML::Node map_;
  std::string path_;
  Mistakes& mistakes_;
  std::vector<std::string> known_;
  std::vector<std::string> not_yet_;
};

// "the text 'abc'", "a list", "a map", "nothing": what was found.
std::string Describe(const YAML::Node& node);

// Parses the text; a syntax error is noted and gives a null node.
YAML::Node ParseYaml(const std::string& text, Mistakes& mistakes);

}  // namespace muster
