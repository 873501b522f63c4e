#include <algorithm>
#include <map>

#include "tests/rules/law.h"

namespace muster::rules {
namespace {

// One line, one blank between words, none at the ends.
std::string Squeezed(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\n';
    if (!blank) out += c;
    if (blank && !out.empty() && out.back() != ' ') out += ' ';
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

// At `mark`s that stand in no brackets.
std::vector<std::string> Split(const std::string& text, char mark) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : text) {
    if (std::string("<({[").find(c) != std::string::npos) ++depth;
    if (std::string(">)}]").find(c) != std::string::npos) --depth;
    if (c == mark && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  for (std::string& part : parts) part = Squeezed(part);
  std::erase(parts, "");
  return parts;
}

// Of the bracket at `open`, without the brackets.
std::string Inside(const std::string& text, std::size_t open) {
  const char begin = text[open];
  const char end = begin == '(' ? ')' : begin == '<' ? '>' : '}';
  int depth = 0;
  for (std::size_t at = open; at < text.size(); ++at) {
    if (text[at] == begin) ++depth;
    if (text[at] == end && --depth == 0) return text.substr(open + 1, at - open - 1);
  }
  return text.substr(open + 1);
}

std::string BeforeInitializer(const std::string& declared) {
  return Squeezed(declared.substr(0, declared.find_first_of("={")));
}

// "std::uint64_t a = 0, b = 0" -> a and b, both std::uint64_t.
std::map<std::string, std::string> TypesOf(const std::string& body) {
  std::map<std::string, std::string> types;
  for (const std::string& declaration : Split(body.substr(0, body.find("template")), ';')) {
    if (declaration.starts_with("using ") || declaration.find("operator") != std::string::npos) {
      continue;
    }
    const std::vector<std::string> names = Split(declaration, ',');
    const std::string first = BeforeInitializer(names.front());
    const std::size_t space = first.rfind(' ');
    if (space == std::string::npos) continue;
    const std::string type = first.substr(0, space);
    types[first.substr(space + 1)] = type;
    for (std::size_t i = 1; i < names.size(); ++i) types[BeforeInitializer(names[i])] = type;
  }
  return types;
}

struct Form {
  std::string name;  // "runtime/base/orders.h Order".
  bool fixed = false;
  std::vector<std::string> members;

  std::string Line() const {
    std::string line = name + (fixed ? " fixed:" : ":");
    for (const std::string& member : members) line += " " + member + ",";
    if (!members.empty()) line.pop_back();
    return line;
  }
};

std::string Word(const std::string& code, std::size_t at) {
  return code.substr(at, code.find_first_of(" ;{=", at) - at);
}

// In the order in which they stand.
void FindForms(const File& file, std::vector<Form>& forms) {
  const std::string code = CodeOnly(file.text);
  const std::string struct_word = "\nstruct ", using_word = "\nusing ";
  for (std::size_t at = code.find('\n'); at != std::string::npos; at = code.find('\n', at + 1)) {
    if (code.compare(at, struct_word.size(), struct_word) == 0) {
      const std::string name = Word(code, at + struct_word.size());
      const std::size_t open = code.find_first_of("{;", at);
      if (open == std::string::npos || code[open] == ';') continue;
      const std::string body = Inside(code, open);
      const std::size_t fields = body.find(" Fields(");
      if (fields == std::string::npos) continue;
      Form form{.name = file.path + " " + name,
                .fixed = body.find("using Fixed") != std::string::npos,
                .members = {}};
      const auto types = TypesOf(body);
      const std::string call = Inside(body, body.find('{', fields));
      for (const std::string& member : Split(Inside(call, call.find('(')), ',')) {
        const auto type = types.find(member);
        form.members.push_back((type == types.end() ? "?" : type->second) + " " + member);
      }
      forms.push_back(std::move(form));
    } else if (code.compare(at, using_word.size(), using_word) == 0) {
      const std::string line = code.substr(at, code.find(';', at) - at);
      const std::size_t variant = line.find("std::variant<");
      if (variant == std::string::npos) continue;
      forms.push_back({.name = file.path + " " + Word(code, at + using_word.size()),
                       .members = Split(Inside(line, line.find('<', variant)), ',')});
    }
  }
}

bool BeginsWith(const std::vector<std::string>& whole, const std::vector<std::string>& begin) {
  return whole.size() >= begin.size() && std::equal(begin.begin(), begin.end(), whole.begin());
}

// Of one line of the record.
Form Parse(const std::string& line) {
  Form form;
  const std::size_t colon = line.find(':');
  form.name = line.substr(0, colon);
  form.fixed = form.name.ends_with(" fixed");
  if (form.fixed) form.name.resize(form.name.size() - std::string(" fixed").size());
  if (colon != std::string::npos) form.members = Split(line.substr(colon + 1), ',');
  return form;
}

}  // namespace

void JudgeWire(const std::vector<File>& tree, const std::string& record, Judgement* out) {
  std::vector<Form> forms;
  for (const File& file : tree) {
    const bool ours = file.path.starts_with("runtime/") || file.path.starts_with("launcher/");
    const bool speaks = file.text.find("Fields(A& a)") != std::string::npos;
    if (ours && speaks && file.path.ends_with(".h")) FindForms(file, forms);
  }
  std::map<std::string, Form> recorded;
  for (const std::string& line : Lines(record)) {
    if (line.empty() || line.starts_with("#")) continue;
    Form form = Parse(line);
    recorded[form.name] = form;
  }
  const auto say = [out](const Form& form, const std::string& what) {
    out->breaches.push_back(
        {form.name.substr(0, form.name.find(' ')), 0, "wire", form.name + what});
  };
  for (const Form& form : forms) {
    const auto known = recorded.find(form.name);
    const bool same = known != recorded.end() && known->second.Line() == form.Line();
    const bool grew = known == recorded.end() || (!form.fixed && !known->second.fixed &&
                                                  BeginsWith(form.members, known->second.members));
    if (!grew && !same) {
      say(form, " is not understood by older peers any more: new members go at the end, and " +
                    std::string("fixed structs stay as they are; it was\n  ") +
                    known->second.Line() + "\nand is\n  " + form.Line());
    } else if (!same) {
      say(form, " is new or grew: tests/rules/wire_members.txt needs the line\n  " + form.Line());
    }
    if (known != recorded.end()) recorded.erase(known);
  }
  for (const auto& [name, form] : recorded) say(form, " is gone, and older peers may still say it");
}

}  // namespace muster::rules
