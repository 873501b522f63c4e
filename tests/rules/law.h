// The rules of this repository that a machine can check, as a function from a tree to its breaches.
//
// ARCHITECTURE.md says why: the arrows between folders, a core that decides and a rim that acts,
// and the bans and sizes of style.  tables.cc holds what a newcomer may want to look up or change.
// Pure; the test reads the tree.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace muster::rules {

struct File {
  std::string path;  // From the root of the repository, such as "runtime/base/text.h".
  std::string text;
};

struct Breach {
  std::string path;
  std::size_t line = 0;
  std::string rule;  // "arrow", "world", "ban", "size", "name", "cmake", "proto", "wire" or "walk".
  std::string what;
};

// A breach that stands, and why.  One that pardons nothing is a breach itself.
struct Pardon {
  std::string path;
  std::string rule;
  std::string about;  // Words that the breach's sentence contains.
  std::string reason;
};

struct Judgement {
  std::vector<Breach> breaches;
  std::vector<std::string> notes;  // Such as a test that is longer than it should be.
  std::size_t sources = 0;
};

// An empty walk proves nothing: a tree without sources is a breach.
Judgement Judge(const std::vector<File>& tree, const std::vector<Pardon>& pardons);

const std::vector<Pardon>& Pardons();

// ---- The tables ---------------------------------------------------------------------------------

// A folder and those that it may include; what those may include, it may too.
const std::map<std::string, std::vector<std::string>>& Arrows();

// Headers that start with `header` reach the outside world; only files with such an ending may.
struct World {
  std::string header;
  std::vector<std::string> endings;
};
const std::vector<World>& Worlds();

// Headers of the language and of libraries that only compute.
const std::vector<std::string>& PureHeaders();

// The last word of a rim file's name.
const std::vector<std::string>& RimEndings();

// `text` may not stand in code; `core_only`: it may in rim files.  `where` may all the same.
struct Ban {
  std::string text;
  std::string instead;
  bool core_only = false;
  std::vector<std::string> where;
};
const std::vector<Ban>& Bans();

// ---- Words about files --------------------------------------------------------------------------

// "runtime/base" for "runtime/base/text.h".
std::string FolderOf(const std::string& path);
// "posix" for "a/file_posix.cc".
std::string LastWord(const std::string& path);
bool IsSource(const std::string& path);  // Something that a compiler reads.
bool IsRim(const std::string& path);
bool IsTest(const std::string& path);
// Every folder that `folder` may include by following arrows, itself too.  Empty: not in the table.
std::vector<std::string> Reach(const std::string& folder);
// The table's name of `folder`: examples/byte_gpt is "examples/*".  Empty: not in the table.
std::string TableName(const std::string& folder);

// The same lines with comments, and the insides of strings, blanked out.
std::string CodeOnly(std::string_view text);
std::vector<std::string> Lines(std::string_view text);

// ---- The parts of Judge
// ---------------------------------------------------------------------------

void JudgeSource(const File& file, Judgement* out);
void JudgeProto(const File& file, Judgement* out);
void JudgeCmake(const std::vector<File>& tree, Judgement* out);

// Apart from Judge: the structs that travel in the form of runtime/base/wire.h have the members
// that `record` (wire_members.txt) lists, so that peers of two versions understand each other.
void JudgeWire(const std::vector<File>& tree, const std::string& record, Judgement* out);

}  // namespace muster::rules
