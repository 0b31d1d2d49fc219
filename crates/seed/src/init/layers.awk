# Reads extensions.yaml; writes a line `image name version` for each layer, in order.
#
# Not a YAML parser: block style as programs write it, keys in any order, values plain, quoted or as block
# scalars, whatever they contain. What is left of a name or version is fit for one word of a line; what is
# missing is `-`. Exits with 2 on what it does not understand: a layer must never be lost in silence.

function wrong(why) {
    print "extensions.yaml:" NR ": " why > "/dev/stderr"
    failed = 1
    exit 2
}

function word(text) {
    gsub(/[^A-Za-z0-9._+~@:-]/, "_", text)
    return text == "" ? "-" : text
}

function flush_layer() {
    if (!in_layer) return
    if (image !~ /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/) wrong("layer without an image of this directory")
    print image, word(name), word(version)
    image = name = version = ""
    in_layer = 0
}

function hex(text,    i, n) {
    n = 0
    for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
    return n
}

# The scalar that begins a line's rest, in `scalar`. Sets `quote` if it goes on in the next line.
function parse(text,    c, i, escape) {
    scalar = ""
    c = substr(text, 1, 1)
    if (c == "\"" || c == "'") {
        quote = c
        quoted(substr(text, 2))
        return
    }
    sub(/[ \t]+#.*$/, "", text)
    sub(/^#.*$/, "", text)
    sub(/[ \t]+$/, "", text)
    scalar = text
}

function quoted(text,    c, i, n) {
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (quote == "'" && c == "'") {
            if (substr(text, i + 1, 1) != "'") { quote = ""; return }
            i++
        } else if (quote == "\"" && c == "\"") {
            quote = ""
            return
        } else if (quote == "\"" && c == "\\") {
            i++
            c = substr(text, i, 1)
            n = c == "x" ? 2 : c == "u" ? 4 : c == "U" ? 8 : 0
            if (n) {
                c = hex(substr(text, i + 1, n))
                c = c > 31 && c < 127 ? sprintf("%c", c) : "_"
                i += n
            } else if (c !~ /["\\\/ ]/) c = "_"
        }
        scalar = scalar c
    }
    scalar = scalar " "
}

function store() {
    if (target == "image") image = scalar
    else if (target == "name") name = scalar
    else if (target == "version") version = scalar
    target = ""
}

BEGIN { block = -1; item = -1 }

{
    sub(/\r$/, "")
    if (quote != "") {
        line = $0
        sub(/^[ \t]+/, "", line)
        quoted(line)
        if (quote == "") store()
        next
    }
    match($0, /^ */)
    indent = RLENGTH
    rest = substr($0, indent + 1)
    if (rest == "") next
    if (block >= 0) {
        if (indent > block) next
        block = -1
    }
    if (rest ~ /^#/ || rest ~ /^(---|\.\.\.)/ || rest ~ /^%/) next

    is_item = 0
    if (in_layers && rest ~ /^-( |$)/ && (item < 0 || indent == item)) {
        flush_layer()
        item = indent
        in_layer = is_item = 1
        key_indent = meta_indent = -1
        in_metadata = 0
        match(rest, /^- */)
        indent += RLENGTH
        rest = substr(rest, RLENGTH + 1)
        if (rest ~ /^\{/) wrong("flow style")
        if (rest == "" || rest ~ /^#/) next
    }

    # A key, plain or quoted, and what follows its colon.
    if (!match(rest, /^("[^"]*"|'[^']*'|[^]["'#:{}, -][^:]*):( |$)/)) {
        if (is_item) wrong("layer that is no mapping")
        next
    }
    key = substr(rest, 1, RLENGTH)
    value = substr(rest, RLENGTH + 1)
    sub(/:? ?$/, "", key)
    gsub(/^["']|["']$/, "", key)
    sub(/^ +/, "", value)

    if (indent == 0) {
        flush_layer()
        in_layers = key == "layers"
        item = -1
        if (in_layers && value !~ /^(\[ *\]|~|null)? *(#.*)?$/) wrong("flow style")
    }
    target = ""
    if (in_layer) {
        if (key_indent < 0) key_indent = indent
        if (indent == key_indent) {
            in_metadata = key == "metadata"
            meta_indent = -1
            if (key == "image") target = "image"
            if (in_metadata && value ~ /^[^#]/) wrong("flow style")
        } else if (indent > key_indent && in_metadata) {
            if (meta_indent < 0) meta_indent = indent
            if (indent == meta_indent && (key == "name" || key == "version")) target = key
        }
    }
    if (value ~ /^[|>]/) {
        block = indent
        if (target != "") wrong("block scalar as " key)
        next
    }
    parse(value)
    if (quote == "") store()
}

END {
    if (failed) exit 2
    if (quote != "") { print "extensions.yaml: quote without end" > "/dev/stderr"; exit 2 }
    flush_layer()
}
