#include "launcher/cli/seats.h"

#include <algorithm>
#include <vector>

#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kBarMost = 64;

// "0-3,8" as numbers; what is no list gives none.
std::vector<std::size_t> Numbers(const std::string& list) {
  std::vector<std::size_t> numbers;
  for (const std::string& part : Split(list, ',')) {
    const std::size_t dash = part.find('-');
    const auto first = ParseUnsigned(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : ParseUnsigned(part.substr(dash + 1));
    if (!first || !last || *last > 65536) continue;
    for (std::size_t n = *first; n <= *last; ++n) numbers.push_back(n);
  }
  return numbers;
}

// Of a large machine a sign stands for several CPUs.
std::string Bar(const std::vector<std::size_t>& cpus, std::size_t count) {
  const std::size_t each = (count + kBarMost - 1) / kBarMost;
  std::string bar((count + each - 1) / each, '.');
  for (const std::size_t cpu : cpus) {
    if (cpu < count) bar[cpu / each] = '#';
  }
  return bar;
}

// CPUs need not be numbered without gaps.
std::size_t CountOf(const Seating& seating) {
  std::size_t count = std::max<std::size_t>(seating.cpus, 1);
  for (const Seat& seat : seating.seats) {
    for (const std::size_t cpu : Numbers(seat.cpus)) count = std::max(count, cpu + 1);
  }
  return count;
}

std::string Padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string Line(const Seat& seat, std::size_t count) {
  std::string line = "  rank " + Padded(std::to_string(seat.rank), 4) + " slot " +
                     Padded(std::to_string(seat.slot), 3) + " " + Bar(Numbers(seat.cpus), count) +
                     "  " + (seat.cpus.empty() ? "not bound" : "CPUs " + seat.cpus);
  if (seat.numa >= 0) line += ", NUMA " + std::to_string(seat.numa);
  if (seat.gpu >= 0) line += ", GPU " + std::to_string(seat.gpu);
  if (!seat.nic.empty()) line += ", NIC " + seat.nic;
  return line + "\n";
}

}  // namespace

std::string SeatPage(const JobView& job) {
  std::string page;
  for (const MemberView& member : job.members) {
    const Seating& seating = member.seating;
    page += member.node + ": ";
    if (seating.seats.empty()) {
      page += "its ranks have no seats yet\n";
      continue;
    }
    page += std::to_string(seating.cpus) + " CPUs" +
            (seating.note.empty() ? "" : "; " + seating.note) + "\n";
    const std::size_t count = CountOf(seating);
    for (const Seat& seat : seating.seats) page += Line(seat, count);
  }
  return page.empty() ? "the job has not been placed yet\n" : page;
}

nlohmann::ordered_json SeatsJson(const Seating& seating) {
  auto seats = nlohmann::ordered_json::array();
  for (const Seat& seat : seating.seats) {
    nlohmann::ordered_json one = {{"rank", seat.rank}, {"slot", seat.slot}};
    if (!seat.cpus.empty()) one["cpus"] = seat.cpus;
    if (seat.numa >= 0) one["numa"] = seat.numa;
    if (seat.gpu >= 0) one["gpu"] = seat.gpu;
    if (!seat.nic.empty()) one["nic"] = seat.nic;
    seats.push_back(std::move(one));
  }
  return seats;
}

}  // namespace muster
