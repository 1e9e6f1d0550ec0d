// A real store in a scratch folder, with the few steps that every storage test takes.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/rocksdb_store.h"
#include "storage/store.h"

namespace engram::storage {

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = ::testing::TempDir() + "/engram-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

inline void WriteWholeFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline void FlipBit(const std::string& path, size_t offset) {
  std::string bytes = ReadWholeFile(path);
  ASSERT_LT(offset, bytes.size()) << path;
  bytes[offset] = static_cast<char>(bytes[offset] ^ 0x10);
  WriteWholeFile(path, bytes);
}

inline std::vector<std::string> FilesEndingWith(const std::string& folder,
                                                const std::string& suffix) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (path.size() >= suffix.size() &&
        path.compare(path.size() - suffix.size(), suffix.size(), suffix) == 0) {
      paths.push_back(path);
    }
  }
  return paths;
}

inline Submission Records(ModelUid model, const std::vector<std::string>& payloads) {
  Submission submission;
  submission.model = model;
  for (const std::string& payload : payloads) submission.records.push_back({1, payload});
  return submission;
}

// Submits and waits until it is durable or failed.
inline absl::Status Append(SampleLog& log, Submission submission) {
  std::promise<absl::Status> durable;
  const absl::StatusOr<Sequence> first = log.Submit(
      std::move(submission), [&durable](const absl::Status& status) { durable.set_value(status); });
  return first.ok() ? durable.get_future().get() : first.status();
}

class StoreTest : public ::testing::Test {
 protected:
  static constexpr ModelUid kModel = 7;

  StoreTest() {
    options_.folder = folder_.path() + "/store";
    options_.disk_reserve_bytes = 0;
    options_.now_ms = [this] { return now_ms_.load(); };
  }

  void Open() {
    absl::StatusOr<std::unique_ptr<Store>> opened = RocksDbStore::Open(options_, hooks_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }
  void OpenWithModel() {
    Open();
    ASSERT_TRUE(log().Open(kModel).ok());
  }
  void Reopen() {
    store_.reset();
    OpenWithModel();
  }

  SampleLog& log() { return store_->log(); }
  std::string db_folder() const { return options_.folder + "/db"; }

  std::vector<std::string> Payloads(Sequence from = 1) {
    absl::StatusOr<std::vector<LogRecord>> records = log().Read(kModel, from, 1 << 20, 1 << 30);
    EXPECT_TRUE(records.ok()) << records.status();
    std::vector<std::string> payloads;
    if (!records.ok()) return payloads;
    for (const LogRecord& record : *records) {
      EXPECT_EQ(record.sequence, from + payloads.size());
      payloads.push_back(record.payload);
    }
    return payloads;
  }

  ScratchFolder folder_;
  std::atomic<int64_t> now_ms_{1000000};
  StoreOptions options_;
  StoreHooks hooks_;
  std::unique_ptr<Store> store_;
};

}  // namespace engram::storage
