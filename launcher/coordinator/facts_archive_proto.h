// The two directions in which a struct and its protobuf message are matched, member by member.
//
// A function Map(direction, struct, message) calls the direction once per member, so one
// description serves both; facts_proto.cc has them.  OnDisk(enum) gives an enum's number on disk,
// -1 for none.  Pure values; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <google/protobuf/repeated_field.h>

#include "runtime/base/check.h"
#include "runtime/base/clock.h"
#include "runtime/base/result.h"

namespace muster {

using google::protobuf::RepeatedField;
using google::protobuf::RepeatedPtrField;

// What a Map() of direction A gets for a struct T.
template <typename A, typename T>
using In = std::conditional_t<A::kWrites, const T, T>;

// Struct to message.
class Writer {
 public:
  static constexpr bool kWrites = true;

  template <typename T, typename P, typename Set>
  void Value(const T& value, P, Set set) {
    if constexpr (std::is_enum_v<T>) {
      CHECK(OnDisk(value) >= 0);
      set(static_cast<P>(OnDisk(value)));
    } else if constexpr (std::is_same_v<T, TimePoint>) {
      set(value.time_since_epoch().count());
    } else {
      set(P{value});
    }
  }
  template <typename T, typename P, typename Set>
  void OptionalValue(const std::optional<T>& value, bool, P on_disk, Set set) {
    if (value) Value(*value, on_disk, set);
  }
  template <typename T, typename Get>
  void Optional(const std::optional<T>& part, bool, Get get) {
    if (part) Part(*part, *get());
  }
  void Part(const std::string& text, std::string& on_disk) { on_disk = text; }
  template <typename T, typename M>
  void Part(const T& part, M& on_disk) {
    if constexpr (requires { on_disk.begin(); }) {
      for (const auto& item : part) Add(item, on_disk);
    } else {
      Map(*this, part, on_disk);
    }
  }
  template <typename K, typename T, typename M, typename KeyOf>
  void Keyed(const std::map<K, T>& items, M& on_disk, KeyOf key_of) {
    for (const auto& [key, item] : items) {
      CHECK(key == key_of(item));
      Add(item, on_disk);
    }
  }
  template <typename M>
  void Pairs(const std::map<std::string, std::uint64_t>& pairs, M& on_disk) {
    for (const auto& [key, job] : pairs) {
      auto& pair = *on_disk.Add();
      pair.set_key(key);
      pair.set_job(job);
    }
  }

 private:
  template <typename T, typename E>
  void Add(const T& item, RepeatedField<E>& on_disk) {
    on_disk.Add(item);
  }
  template <typename T, typename M>
  void Add(const T& item, RepeatedPtrField<M>& on_disk) {
    Part(item, *on_disk.Add());
  }
};

// Message to struct.  A value that no struct can hold is an error, never a guess.
class Reader {
 public:
  static constexpr bool kWrites = false;

  const Status& status() const { return status_; }

  template <typename T, typename P, typename Set>
  void Value(T& value, P on_disk, Set) {
    if constexpr (std::is_enum_v<T>) {
      int i = 0;
      while (i < 256 && OnDisk(static_cast<T>(i)) != static_cast<int>(on_disk)) ++i;
      if (i == 256 || on_disk < 0) return Fail(on_disk);
      value = static_cast<T>(i);
    } else if constexpr (std::is_same_v<T, TimePoint>) {
      value = TimePoint(Duration(on_disk));
    } else {
      value = static_cast<T>(on_disk);
      if (P{value} != on_disk) Fail(on_disk);
    }
  }
  template <typename T, typename P, typename Set>
  void OptionalValue(std::optional<T>& value, bool has, P on_disk, Set set) {
    if (has) Value(value.emplace(), on_disk, set);
  }
  template <typename T, typename Get>
  void Optional(std::optional<T>& part, bool has, Get get) {
    if (has) Part(part.emplace(), *get());
  }
  void Part(std::string& text, std::string& on_disk) { text = std::move(on_disk); }
  template <typename T, typename M>
  void Part(T& part, M& on_disk) {
    Map(*this, part, on_disk);
  }
  template <typename T, typename E>
  void Part(std::vector<T>& list, RepeatedField<E>& on_disk) {
    list.assign(on_disk.begin(), on_disk.end());
  }
  template <typename T, typename E>
  void Part(std::set<T>& items, RepeatedField<E>& on_disk) {
    items = {on_disk.begin(), on_disk.end()};
  }
  template <typename T, typename M>
  void Part(std::vector<T>& list, RepeatedPtrField<M>& on_disk) {
    list.clear();
    for (M& item : on_disk) Part(list.emplace_back(), item);
  }
  template <typename K, typename T, typename M, typename KeyOf>
  void Keyed(std::map<K, T>& items, RepeatedPtrField<M>& on_disk, KeyOf key_of) {
    for (M& item : on_disk) {
      T value;
      Map(*this, value, item);
      const K key = key_of(value);
      items.insert_or_assign(key, std::move(value));
    }
  }
  template <typename M>
  void Pairs(std::map<std::string, std::uint64_t>& pairs, RepeatedPtrField<M>& on_disk) {
    for (const M& pair : on_disk) pairs[pair.key()] = pair.job();
  }

 private:
  template <typename P>
  void Fail(P on_disk) {
    status_ = Status(Code::kDataLoss, "the value " + std::to_string(on_disk) + " has no meaning");
  }

  Status status_;
};

}  // namespace muster
