#!/usr/bin/env bash
# Builds the jar, with the native library in it, and runs every test of the Java binding.
# Needs cargo, Maven 3.8 or newer, and a JDK 22 or newer, which is looked for in JAVA_HOME and the usual places.
set -euo pipefail
cd "$(dirname "$0")"

major() {
    "$1/bin/javac" -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p'
}

jdk() {
    local home version
    for home in "${JAVA_HOME:-}" /usr/lib/jvm/* /opt/java/* /opt/jdk* "$HOME"/.sdkman/candidates/java/* \
        "$HOME"/.jdks/* /Library/Java/JavaVirtualMachines/*/Contents/Home \
        "$(dirname "$(dirname "$(readlink -f "$(command -v javac || true)" || true)")")"; do
        if [ -x "$home/bin/javac" ]; then
            version=$(major "$home")
            if [ "${version:-0}" -ge 22 ]; then
                echo "$home"
                return
            fi
        fi
    done
    return 1
}

for tool in cargo mvn; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is missing; get cargo from https://rustup.rs, and Maven as the package maven of your system" >&2
        exit 1
    fi
done
if ! JAVA_HOME=$(jdk); then
    echo "no JDK 22 or newer was found: not in JAVA_HOME (${JAVA_HOME:-not set}), /usr/lib/jvm, /opt, ~/.sdkman," \
        "~/.jdks, /Library/Java, nor by javac on the PATH; install one (such as Temurin 25) and set JAVA_HOME to it" >&2
    exit 1
fi
export JAVA_HOME
echo "JDK: $JAVA_HOME" >&2

mvn --batch-mode --no-transfer-progress --quiet verify "$@"

# The jar as its users have it, on the module path and on the class path.
ring=$(mktemp -d)
trap 'rm -r "$ring"' EXIT
jar=ipc/target/aether-ipc-0.1.0.jar
"$JAVA_HOME/bin/java" --module-path "$jar" --add-modules com.aether.ipc --enable-native-access=com.aether.ipc \
    examples/Quickstart.java "$ring/module" >"$ring/out"
"$JAVA_HOME/bin/java" --class-path "$jar" --enable-native-access=ALL-UNNAMED \
    examples/Quickstart.java "$ring/class" >>"$ring/out"
if [ "$(cat "$ring/out")" != $'1 7 hello\n1 7 hello' ]; then
    echo "examples/Quickstart.java printed:" >&2
    cat "$ring/out" >&2
    exit 1
fi
