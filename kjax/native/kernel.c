#include "kernel.h"

/* What the library was compiled from (build.py). */
__attribute__((visibility("default"))) const char *kjax_sources(void) { return KJAX_SOURCES; }

/* --- The entry --- */

static void *failure(const XlaApi *api, const char *message) {
  XlaErrorArguments arguments = {sizeof arguments, NULL, message, 3};
  return api->error_create(&arguments);
}

static void describe(const XlaCall *xla, XlaMetadata *metadata) {
  metadata->version.major = xla->api->version.major;
  metadata->version.minor = xla->api->version.minor;
}

void *enter(XlaCall *xla, void (*kernel)(const Call *)) {
  if (xla->api->size < sizeof(XlaApi) || xla->api->version.major != 0)
    return failure(xla->api, "kjax: this version of XLA calls kernels in another way");
  for (XlaExtension *extension = xla->extension; extension; extension = extension->next)
    if (extension->kind == 1) {
      describe(xla, ((XlaMetadataExtension *)extension)->metadata);
      return NULL;
    }
  Call call = {xla, xla->attributes.count ? xla->attributes.items[0]->data : NULL};
  kernel(&call);
  return NULL;
}

/* --- Work split among threads ---
 *
 * Threads take the next task until none is left. The caller takes part, and then waits only for threads that have
 * begun: one that XLA starts later finds nothing to do. So nothing waits for a thread that may never come. */

typedef struct {
  void (*task)(void *, int64_t);
  void *data;
  int64_t count;
  atomic_llong next, done;
  atomic_int holders;
} Work;

static void drop(Work *work) {
  if (atomic_fetch_sub(&work->holders, 1) == 1) free(work);
}

static void take_tasks(Work *work) {
  for (;;) {
    int64_t i = atomic_fetch_add(&work->next, 1);
    if (i >= work->count) return;
    work->task(work->data, i);
    atomic_fetch_add(&work->done, 1);
  }
}

static void help(void *data) {
  take_tasks(data);
  drop(data);
}

static int64_t threads_of(const Call *call) {
  int64_t threads = 1;
  XlaThreads arguments = {sizeof arguments, NULL, call->xla->context, &threads};
  void *error = call->xla->api->threads(&arguments);
  if (!error) return threads;
  XlaErrorHandle handle = {sizeof handle, NULL, error};
  call->xla->api->error_destroy(&handle);
  return 1;
}

static void ask_for_help(const Call *call, Work *work) {
  XlaSchedule arguments = {sizeof arguments, NULL, call->xla->context, help, work};
  void *error = call->xla->api->schedule(&arguments);
  if (!error) return;
  XlaErrorHandle handle = {sizeof handle, NULL, error};
  call->xla->api->error_destroy(&handle);
  drop(work);
}

void in_parallel(const Call *call, int64_t count, void (*task)(void *, int64_t), void *data) {
  int64_t helpers = least(count, threads_of(call)) - 1;
  Work *work = helpers > 0 ? malloc(sizeof *work) : NULL;
  if (!work) {
    for (int64_t i = 0; i < count; i++) task(data, i);
    return;
  }
  *work = (Work){task, data, count, 0, 0, (int)helpers + 1};
  for (int64_t i = 0; i < helpers; i++) ask_for_help(call, work);
  take_tasks(work);
  for (int spins = 0; atomic_load(&work->done) < count; spins++)
    if (spins > 20000) sched_yield();
  drop(work);
}
