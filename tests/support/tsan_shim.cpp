// ThreadSanitizer does not see the hand-over points inside the distribution's libcaf, which is not
// instrumented: without help every message looks like a race. These interposers mark them. Linked
// into test programs of the tsan preset only; names are the mangled ones of CAF 0.17.6.
#if defined(__SANITIZE_THREAD__)
#include <cstddef>
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

namespace {

template <class Function>
Function* next(const char* symbol) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, symbol));
}

void hand_over(void* object) {
  __tsan_release(object);
  __tsan_acquire(object);
}

}  // namespace

#define TANDEM_RELEASES(symbol)                         \
  void symbol(void* object) {                           \
    static auto* original = next<void(void*)>(#symbol); \
    hand_over(object);                                  \
    original(object);                                   \
  }
#define TANDEM_ENQUEUES(symbol)                                        \
  void symbol(void* self, void** element, void* unit) {                \
    static auto* original = next<void(void*, void**, void*)>(#symbol); \
    __tsan_release(*element);                                          \
    original(self, element, unit);                                     \
  }
#define TANDEM_RESUMES(symbol, offset)                                     \
  int symbol(char* self, void* unit, std::size_t throughput) {             \
    static auto* original = next<int(char*, void*, std::size_t)>(#symbol); \
    __tsan_acquire(self - (offset));                                       \
    const int result = original(self, unit, throughput);                   \
    __tsan_release(self - (offset));                                       \
    return result;                                                         \
  }
#define TANDEM_CONSUMES(symbol)                               \
  int symbol(void* self, void* element) {                     \
    static auto* original = next<int(void*, void*)>(#symbol); \
    __tsan_acquire(element);                                  \
    return original(self, element);                           \
  }

extern "C" {
TANDEM_RELEASES(_ZN3caf21intrusive_ptr_releaseEPNS_19actor_control_blockE)
TANDEM_RELEASES(_ZN3caf26intrusive_ptr_release_weakEPNS_19actor_control_blockE)
TANDEM_RELEASES(_ZNK3caf11ref_counted5derefEv)
TANDEM_ENQUEUES(
    _ZN3caf15scheduled_actor7enqueueESt10unique_ptrINS_15mailbox_elementENS_6detail8disposerEEPNS_14execution_unitE)
TANDEM_ENQUEUES(
    _ZN3caf14blocking_actor7enqueueESt10unique_ptrINS_15mailbox_elementENS_6detail8disposerEEPNS_14execution_unitE)
TANDEM_RESUMES(_ZN3caf15scheduled_actor6resumeEPNS_14execution_unitEm, 0)
TANDEM_RESUMES(_ZThn160_N3caf15scheduled_actor6resumeEPNS_14execution_unitEm, 160)
TANDEM_CONSUMES(_ZN3caf15scheduled_actor7consumeERNS_15mailbox_elementE)
TANDEM_CONSUMES(_ZN3caf14blocking_actor15mailbox_visitorclERNS_15mailbox_elementE)

void _ZN3caf15scheduled_actor6launchEPNS_14execution_unitEbb(void* self, void* unit, bool lazy,
                                                             bool hide) {
  static auto* original = next<void(void*, void*, bool, bool)>(
      "_ZN3caf15scheduled_actor6launchEPNS_14execution_unitEbb");
  __tsan_release(self);
  original(self, unit, lazy, hide);
}

void** _ZN3caf14blocking_actor7dequeueEv(void** result, void* self) {
  static auto* original = next<void**(void**, void*)>("_ZN3caf14blocking_actor7dequeueEv");
  void** element = original(result, self);
  if (*result) __tsan_acquire(*result);
  return element;
}
}
#endif
