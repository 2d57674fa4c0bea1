/* Counts the live bytes of the heap, blocks of at least 1 KiB, between heap_start() and heap_stop().
   Build: cc -O2 -shared -fPIC -o heap_trace.so heap_trace.c; use: LD_PRELOAD (glibc on Linux). */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

#define LEAST 1024
#define SLOTS (1 << 18)
#define GONE ((void *)-1)

static struct { void *block; size_t bytes; } table[SLOTS];
static int is_on = 0;
static long live = 0, peak = 0;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned slot_of(void *block) { return (((uintptr_t)block >> 4) * 0x9E3779B97F4A7C15ull >> 40) & (SLOTS - 1); }

static void *taken(void *block, size_t bytes) {
  if (is_on && block && bytes >= LEAST) {
    pthread_mutex_lock(&lock);
    unsigned i = slot_of(block);
    while (table[i].block && table[i].block != GONE && table[i].block != block) i = (i + 1) & (SLOTS - 1);
    table[i].block = block;
    table[i].bytes = bytes;
    if ((live += bytes) > peak) peak = live;
    pthread_mutex_unlock(&lock);
  }
  return block;
}

static void given(void *block) {
  if (!is_on || !block) return;
  pthread_mutex_lock(&lock);
  unsigned i = slot_of(block);
  while (table[i].block && table[i].block != block) i = (i + 1) & (SLOTS - 1);
  if (table[i].block == block) {
    live -= table[i].bytes;
    table[i].block = GONE;
  }
  pthread_mutex_unlock(&lock);
}

void *malloc(size_t bytes) { return taken(__libc_malloc(bytes), bytes); }
void *calloc(size_t count, size_t bytes) { return taken(__libc_calloc(count, bytes), count * bytes); }
void *memalign(size_t to, size_t bytes) { return taken(__libc_memalign(to, bytes), bytes); }
void *aligned_alloc(size_t to, size_t bytes) { return memalign(to, bytes); }
int posix_memalign(void **block, size_t to, size_t bytes) { return (*block = memalign(to, bytes)) ? 0 : 12; }
void free(void *block) { given(block), __libc_free(block); }
void *realloc(void *block, size_t bytes) { return given(block), taken(__libc_realloc(block, bytes), bytes); }

void heap_start(void) { memset(table, 0, sizeof table), live = peak = 0, is_on = 1; }
long heap_stop(void) { return is_on = 0, peak; }
