/* Makes one system call and writes what it answers: `call NUMBER [ARGUMENT]...`, each argument a number (decimal, or
 * hexadecimal after 0x) or else a text. `call int80 NUMBER` does so as a program of 32 bits, where there are such.
 * `call nest COUNT` makes directories in one another. `call abstract NAME` connects to a socket of that name without a file. It needs no C library, so that it runs in any image. */

typedef unsigned long word;

static long call(long number, const word *a) {
#if defined(__x86_64__)
    long answer;
    register word d __asm__("r10") = a[3];
    register word e __asm__("r8") = a[4];
    register word f __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(d), "r"(e), "r"(f)
                     : "rcx", "r11", "memory");
    return answer;
#elif defined(__aarch64__)
    register long n __asm__("x8") = number;
    register word b __asm__("x0") = a[0];
    register word c __asm__("x1") = a[1];
    register word d __asm__("x2") = a[2];
    register word e __asm__("x3") = a[3];
    register word f __asm__("x4") = a[4];
    register word g __asm__("x5") = a[5];
    __asm__ volatile("svc 0" : "+r"(b) : "r"(n), "r"(c), "r"(d), "r"(e), "r"(f), "r"(g) : "memory");
    return (long)b;
#endif
}

#if defined(__x86_64__)
enum { WRITE = 1, EXIT = 231, MKDIRAT = 258, CHDIR = 80, SOCKET = 41, CONNECT = 42 };
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#elif defined(__aarch64__)
enum { WRITE = 64, EXIT = 94, MKDIRAT = 34, CHDIR = 49, SOCKET = 198, CONNECT = 203 };
__asm__(".globl _start\n_start: mov x0, sp\n bl begin\n");
#endif

static word value(const char *text) {
    word number = 0;
    if (*text < '0' || *text > '9') {
        return (word)text;
    }
    if (text[0] == '0' && text[1] == 'x') {
        for (text += 2; *text; text++) {
            number = number * 16 + (word)(*text >= 'a' ? *text - 'a' + 10 : *text - '0');
        }
        return number;
    }
    for (; *text; text++) {
        number = number * 10 + (word)(*text - '0');
    }
    return number;
}

static void finish(long answer) {
    char text[24];
    int at = 23;
    word rest = answer < 0 ? -(word)answer : (word)answer;
    text[at] = '\n';
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (answer < 0) {
        text[--at] = '-';
    }
    call(WRITE, (word[6]){1, (word)&text[at], (word)(24 - at)});
    call(EXIT, (word[6]){0});
}

__attribute__((used)) void begin(word *stack) {
    char **words = (char **)(stack + 1);
    word arguments[6] = {0};
    if (words[1][0] == 'i') {
        long answer = -38;
#if defined(__x86_64__)
        __asm__ volatile("int $0x80" : "=a"(answer) : "a"(value(words[2])), "b"(0), "c"(0) : "memory");
#endif
        finish(answer);
    }
    if (words[1][0] == 'n') {
        for (word left = value(words[2]); left; left--) {
            call(MKDIRAT, (word[6]){(word)-100, (word) "d", 0755});
            if (call(CHDIR, (word[6]){(word) "d"})) {
                finish((long)left);
            }
        }
        finish(0);
    }
    if (words[1][0] == 'a') {
        struct {
            unsigned short family;
            char name[108];
        } address = {1, ""};
        word length = 0;
        for (; words[2][length]; length++) {
            address.name[1 + length] = words[2][length];
        }
        long made = call(SOCKET, (word[6]){1, 1});
        finish(call(CONNECT, (word[6]){(word)made, (word)&address, 3 + length}));
    }
    for (word at = 2; at < stack[0] && at < 8; at++) {
        arguments[at - 2] = value(words[at]);
    }
    finish(call((long)value(words[1]), arguments));
}
