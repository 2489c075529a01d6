<?php
// PHP reads this before any other file (auto_prepend_file): so the program may stay where Debian's package put it, while
// what a site has of its own, wp-config.php and wp-content, is in a directory that begins as links to the program.
define('ABSPATH', getenv('SCENE_ROOT') . '/');
