// Erasing what was learned of one example, one subject or one producer.
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

std::string ReceiptText(const v1::EraseResponse& receipt) {
  if (receipt.data() != v1::EraseResponse::DATA_REMOVED) {
    return "nothing found, 0 examples erased\n";
  }
  std::string text = absl::StrCat(
      v1::EraseResponse::Data_Name(receipt.data()), ", ",
      v1::EraseResponse::Weights_Name(receipt.weights()), "\n", receipt.erased_examples(),
      " examples erased: sequences ", receipt.first_sequence(), " to ", receipt.last_sequence(),
      "; ", receipt.erased_exemplars(), " exemplars, ", receipt.erased_held_out(),
      " held-out rows among them\n");
  if (receipt.weights() == v1::EraseResponse::WEIGHTS_REBUILT) {
    absl::StrAppend(&text, "learned again from sequence ", receipt.rebuilt_from() + 1, "\n");
  } else {
    absl::StrAppend(&text,
                    "the log no longer reaches back to the first of them: the weights are as they "
                    "were\n");
  }
  return absl::StrCat(text, receipt.deleted_checkpoints(), " checkpoints deleted, ",
                      receipt.remade_checkpoints(), " of them made anew\n");
}

}  // namespace

int Erase(const VerbContext& context, const Arguments& args) {
  v1::EraseRequest request;
  std::string model;
  std::string id;
  std::string subject;
  std::string producer;
  int64_t wait_seconds = 3600;
  FlagSet flags("erase",
                "Erases the examples of an id, a subject or a producer, and learns again without "
                "them.");
  flags.Positional("MODEL", &model, "that learned them")
      .String("id", &id, "id of the example")
      .String("subject", &subject, "whom the examples are about")
      .String("producer", &producer, "who sent them: whatever the log still holds from it")
      .Int64("wait_seconds", &wait_seconds, "longest wait; the server goes on after it");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (!id.empty() + !subject.empty() + !producer.empty() != 1) {
    return Fail(context,
                absl::InvalidArgumentError(
                    "selector: give --id, --subject or --producer, one of them, not empty"));
  }
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  request.set_model(model);
  if (!id.empty()) request.set_example_id(id);
  if (!subject.empty()) request.set_subject_id(subject);
  if (!producer.empty()) request.set_producer(producer);
  const auto receipt = LearningClient(*connection).Erase(request, absl::Seconds(wait_seconds));
  if (!receipt.ok()) return Fail(context, receipt.status());
  *context.out << (context.json ? absl::StrCat(ToJson(*receipt).dump(), "\n")
                                : ReceiptText(*receipt));
  return kExitOk;
}

}  // namespace engram::client
