#include "launcher/coordinator/journal_sqlite.h"

#include <isa-l/crc.h>
#include <sqlite3.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "launcher/coordinator/facts_proto.h"

namespace muster {
namespace {

constexpr int kBusyTimeoutMs = 10000;  // Another process holds the file: a person's shell.

constexpr char kSchema[] =
    "BEGIN;"
    "CREATE TABLE fact (sequence INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL,"
    " job INTEGER, bytes BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;"
    "CREATE TABLE snapshot (sequence INTEGER PRIMARY KEY, time TEXT NOT NULL,"
    " bytes BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;";

constexpr char kInsertFact[] =
    "INSERT INTO fact VALUES (?1, strftime('%Y-%m-%dT%H:%M:%fZ', ?2, 'unixepoch'), ?3, ?4, ?5, ?6)";
constexpr char kInsertSnapshot[] =
    "INSERT OR REPLACE INTO snapshot VALUES"
    " (?1, strftime('%Y-%m-%dT%H:%M:%fZ', ?2, 'unixepoch'), ?3, ?4)";
constexpr char kPrune[] =
    "DELETE FROM snapshot WHERE sequence <"
    " (SELECT sequence FROM snapshot ORDER BY sequence DESC LIMIT 1 OFFSET 1);"
    "DELETE FROM fact WHERE sequence <="
    " (SELECT sequence FROM snapshot ORDER BY sequence DESC LIMIT 1 OFFSET 1);";

Code CodeOf(int error) {
  switch (error & 0xff) {
    case SQLITE_FULL:
      return Code::kExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kDataLoss;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
      return Code::kDenied;
    default:
      return Code::kUnavailable;
  }
}

Status Failed(sqlite3* database, const std::string& doing) {
  const int error = sqlite3_extended_errcode(database);
  std::string message = doing + ": " + sqlite3_errmsg(database);
  message += " (SQLite error " + std::to_string(error);
  if (const int system = sqlite3_system_errno(database); system != 0) {
    message += std::string(", ") + std::strerror(system);
  }
  return Status(CodeOf(error), message + ")");
}

// Over the row's place as well, so that a row in another's place is found.
std::int64_t Checksum(std::uint64_t sequence, const std::string& bytes) {
  auto* data = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()));  // It reads only.
  return crc32_iscsi(data, static_cast<int>(bytes.size()), static_cast<unsigned>(sequence));
}

Result<std::unique_ptr<sqlite3, SqliteDeleter>> OpenFile(const std::string& path, int flags,
                                                         const char* vfs) {
  sqlite3* raw = nullptr;
  const int error =
      sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, vfs);
  std::unique_ptr<sqlite3, SqliteDeleter> database(raw);
  if (error != SQLITE_OK) return Failed(raw, "opening");
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  return database;
}

Result<SqliteStatement> PrepareStatement(sqlite3* database, const char* sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) !=
      SQLITE_OK) {
    return Failed(database, "preparing a statement");
  }
  return SqliteStatement(raw);
}

void BindBlob(sqlite3_stmt* statement, int index, const std::string& bytes) {
  sqlite3_bind_blob64(statement, index, bytes.data(), bytes.size(), SQLITE_STATIC);
}

// The columns sequence, bytes and crc of a row, checked.
struct Row {
  std::uint64_t sequence = 0;
  std::string bytes;
};
Result<Row> TakeRow(sqlite3_stmt* statement, const char* table) {
  Row row;
  row.sequence = static_cast<std::uint64_t>(sqlite3_column_int64(statement, 0));
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement, 1));
  if (data != nullptr) {
    row.bytes.assign(data, static_cast<std::size_t>(sqlite3_column_bytes(statement, 1)));
  }
  if (sqlite3_column_int64(statement, 2) == Checksum(row.sequence, row.bytes)) return row;
  return Status(Code::kDataLoss, std::string(table) + " " + std::to_string(row.sequence) +
                                     " is damaged: its checksum differs");
}

double Seconds(WallTime time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

}  // namespace

void SqliteDeleter::operator()(sqlite3* database) const {
  sqlite3_close(database);
}
void SqliteDeleter::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

JournalDatabase::JournalDatabase(std::unique_ptr<sqlite3, SqliteDeleter> database)
    : database_(std::move(database)) {}

Status JournalDatabase::Create(const std::string& path, const char* vfs) {
  auto opened = OpenFile(path, SQLITE_OPEN_CREATE, vfs);
  if (!opened.ok()) return std::move(opened).status();
  JournalDatabase database(*std::move(opened));
  RETURN_IF_ERROR(database.Run(kSchema, "making the tables"));
  const std::string mark = "PRAGMA application_id=" + std::to_string(kJournalApplicationId) +
                           ";PRAGMA user_version=" + std::to_string(kJournalFormat) + ";COMMIT";
  RETURN_IF_ERROR(database.Run(mark.c_str(), "making the tables"));
  return database.Run("PRAGMA journal_mode=WAL", "choosing the write-ahead log");
}

Result<std::unique_ptr<JournalDatabase>> JournalDatabase::Open(const std::string& path,
                                                               const char* vfs) {
  auto opened = OpenFile(path, 0, vfs);
  if (!opened.ok()) return std::move(opened).status();
  std::unique_ptr<JournalDatabase> database(new JournalDatabase(*std::move(opened)));
  RETURN_IF_ERROR(database->Prepare());
  return database;
}

Status JournalDatabase::Prepare() {
  RETURN_IF_ERROR(CheckVersion());
  RETURN_IF_ERROR(Run("PRAGMA journal_mode=WAL", "choosing the write-ahead log"));
  RETURN_IF_ERROR(Run("PRAGMA synchronous=FULL", "choosing durable commits"));
  RETURN_IF_ERROR(CheckPages());
  // Instead of SQLite's automatic checkpoint, which would delay a commit.
  const auto count = [](void* self, sqlite3*, const char*, int pages) {
    static_cast<JournalDatabase*>(self)->log_pages_ = pages;
    return SQLITE_OK;
  };
  sqlite3_wal_hook(database_.get(), count, this);
  // The log may hold commits that a killed process wrote and never synced.  What Load() is about to
  // show must survive, so it is made durable first.
  RETURN_IF_ERROR(Checkpoint(0));

  auto fact = PrepareStatement(database_.get(), kInsertFact);
  if (!fact.ok()) return std::move(fact).status();
  insert_fact_ = *std::move(fact);
  auto snapshot = PrepareStatement(database_.get(), kInsertSnapshot);
  if (!snapshot.ok()) return std::move(snapshot).status();
  insert_snapshot_ = *std::move(snapshot);
  return Status();
}

Status JournalDatabase::CheckVersion() {
  auto version = PrepareStatement(database_.get(), "PRAGMA user_version");
  if (!version.ok()) return std::move(version).status();
  if (sqlite3_step(version->get()) != SQLITE_ROW) {
    return Failed(database_.get(), "reading the format");
  }
  const auto format = static_cast<std::uint32_t>(sqlite3_column_int64(version->get(), 0));
  if (format > kJournalFormat) return NewerJournal(format);
  return Status();
}

Status JournalDatabase::CheckPages() {
  auto check = PrepareStatement(database_.get(), "PRAGMA quick_check(1)");
  if (!check.ok()) return std::move(check).status();
  if (sqlite3_step(check->get()) != SQLITE_ROW) return Failed(database_.get(), "checking");
  const std::string verdict(reinterpret_cast<const char*>(sqlite3_column_text(check->get(), 0)));
  if (verdict == "ok") return Status();
  return Status(Code::kDataLoss, "the file is damaged: " + verdict);
}

Result<LoadedState> JournalDatabase::Load() {
  auto loaded = LoadSnapshot();
  if (!loaded.ok()) return loaded;
  RETURN_IF_ERROR(LoadFacts(&*loaded));
  loaded_ = true;
  return loaded;
}

Result<LoadedState> JournalDatabase::LoadSnapshot() {
  auto newest = PrepareStatement(
      database_.get(), "SELECT sequence, bytes, crc FROM snapshot ORDER BY sequence DESC LIMIT 1");
  if (!newest.ok()) return std::move(newest).status();
  LoadedState loaded;
  const int step = sqlite3_step(newest->get());
  if (step == SQLITE_DONE) return loaded;
  if (step != SQLITE_ROW) return Failed(database_.get(), "reading the newest snapshot");
  auto row = TakeRow(newest->get(), "snapshot");
  if (!row.ok()) {
    const std::string number = std::to_string(sqlite3_column_int64(newest->get(), 0));
    return Status(Code::kDataLoss, row.status().message() +
                                       "; the facts that led to it are still there: after" +
                                       " `DELETE FROM snapshot WHERE sequence = " + number +
                                       "` in the sqlite3 shell it is built from them again");
  }
  auto state = DecodeState(row->bytes);
  if (!state.ok()) {
    return std::move(state).status().While("reading snapshot " + std::to_string(row->sequence));
  }
  loaded.state = *std::move(state);
  last_ = row->sequence;
  return loaded;
}

Status JournalDatabase::LoadFacts(LoadedState* loaded) {
  auto facts = PrepareStatement(
      database_.get(), "SELECT sequence, bytes, crc FROM fact WHERE sequence > ?1 ORDER BY 1");
  if (!facts.ok()) return std::move(facts).status();
  sqlite3_bind_int64(facts->get(), 1, static_cast<sqlite3_int64>(last_));
  for (;;) {
    const int step = sqlite3_step(facts->get());
    if (step == SQLITE_DONE) return Status();
    if (step != SQLITE_ROW) return Failed(database_.get(), "reading facts");
    auto row = TakeRow(facts->get(), "fact");
    if (!row.ok()) return std::move(row).status();
    if (row->sequence != last_ + 1) {
      return Status(Code::kDataLoss, "fact " + std::to_string(last_ + 1) +
                                         " is missing: the next one is " +
                                         std::to_string(row->sequence));
    }
    auto fact = DecodeFact(row->bytes);
    if (!fact.ok()) {
      return std::move(fact).status().While("reading fact " + std::to_string(row->sequence));
    }
    Apply(loaded->state, *fact);
    last_ = row->sequence;
    ++loaded->facts_since_snapshot;
  }
}

Status JournalDatabase::Commit(const std::vector<std::vector<Fact>>& batches, WallTime now) {
  CHECK(loaded_);
  RETURN_IF_ERROR(failure_);
  const std::uint64_t before = last_;
  Status status = Run("BEGIN IMMEDIATE", "beginning a commit");
  for (const std::vector<Fact>& batch : batches) {
    for (const Fact& fact : batch) {
      if (status.ok()) status = Insert(fact, Seconds(now));
    }
  }
  const std::string range = std::to_string(before + 1) + " to " + std::to_string(last_);
  return Finish(std::move(status)).While("writing facts " + range);
}

Status JournalDatabase::TakeSnapshot(const State& state, WallTime now) {
  CHECK(loaded_);
  RETURN_IF_ERROR(failure_);
  Status status = Run("BEGIN IMMEDIATE", "beginning a commit");
  if (status.ok()) status = InsertSnapshot(state, Seconds(now));
  if (status.ok()) status = Run(kPrune, "removing old facts");
  return Finish(std::move(status)).While("writing snapshot " + std::to_string(last_));
}

Status JournalDatabase::Checkpoint(int log_pages) {
  RETURN_IF_ERROR(failure_);
  if (log_pages_ < log_pages) return Status();
  const int error = sqlite3_wal_checkpoint_v2(database_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE,
                                              nullptr, nullptr);
  // Busy: someone else does it right now.
  if (error != SQLITE_OK && error != SQLITE_BUSY) {
    failure_ = Failed(database_.get(), "moving the log into the database");
  }
  log_pages_ = 0;
  return failure_;
}

Status JournalDatabase::Insert(const Fact& fact, double seconds) {
  const EncodedFact encoded = EncodeFact(fact);
  sqlite3_stmt* row = insert_fact_.get();
  const std::uint64_t sequence = ++last_;
  sqlite3_bind_int64(row, 1, static_cast<sqlite3_int64>(sequence));
  sqlite3_bind_double(row, 2, seconds);
  sqlite3_bind_text(row, 3, encoded.kind.c_str(), -1, SQLITE_STATIC);
  if (encoded.job) {
    sqlite3_bind_int64(row, 4, static_cast<sqlite3_int64>(*encoded.job));
  } else {
    sqlite3_bind_null(row, 4);
  }
  BindBlob(row, 5, encoded.bytes);
  sqlite3_bind_int64(row, 6, Checksum(sequence, encoded.bytes));
  return Step(row, "adding a fact");
}

Status JournalDatabase::InsertSnapshot(const State& state, double seconds) {
  const std::string bytes = EncodeState(state);
  sqlite3_stmt* row = insert_snapshot_.get();
  sqlite3_bind_int64(row, 1, static_cast<sqlite3_int64>(last_));
  sqlite3_bind_double(row, 2, seconds);
  BindBlob(row, 3, bytes);
  sqlite3_bind_int64(row, 4, Checksum(last_, bytes));
  return Step(row, "adding a snapshot");
}

// The statement's parameters are the caller's: none of them is kept.
Status JournalDatabase::Step(sqlite3_stmt* statement, const char* doing) {
  Status status;
  if (sqlite3_step(statement) != SQLITE_DONE) status = Failed(database_.get(), doing);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return status;
}

Status JournalDatabase::Run(const char* sql, const char* doing) {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return Status();
  return Failed(database_.get(), doing);
}

Status JournalDatabase::Finish(Status status) {
  if (status.ok()) status = Run("COMMIT", "committing");
  if (!status.ok()) {
    failure_ = status;
    (void)Run("ROLLBACK", "rolling back");  // SQLite may have done so itself.
  }
  return status;
}

}  // namespace muster
