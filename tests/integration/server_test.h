// Fixture: a real engramd on a folder of its own, for the length of one test.
//
// Threading: the main thread starts and stops it. Ownership: killed with the fixture.
// Failure: a server that does not start ends the program with what it printed.
#pragma once

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tests/integration/toy_model.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/stubs.h"

namespace engram::integration {

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.data_dir = scratch_.Subfolder("store");
    StartServer();
  }

  // No test has anything to ask without a server: it ends the program.
  void StartServer() {
    auto started = testing::ServerProcess::Start(options_);
    if (!started.ok()) {
      std::cerr << started.status() << std::endl;
      std::abort();
    }
    server_ = *std::move(started);
    stubs_ = std::make_unique<testing::Stubs>(server_->NewChannel());
  }

  // Waits until the named model serves again; `model` asks the new server afterwards.
  void Restart(bool kill, ToyModel* model) {
    if (kill) {
      server_->Kill();
    } else {
      const auto code = server_->Drain();
      ASSERT_TRUE(code.ok()) << code.status() << server_->Output();
      ASSERT_EQ(*code, 0) << server_->Output();
    }
    StartServer();
    ASSERT_TRUE(server_->WaitReady(model->name()).ok());
    model->UseStubs(stubs_.get());
  }

  testing::ScratchFolder scratch_;
  testing::ServerOptions options_;
  std::unique_ptr<testing::ServerProcess> server_;
  std::unique_ptr<testing::Stubs> stubs_;
};

}  // namespace engram::integration
