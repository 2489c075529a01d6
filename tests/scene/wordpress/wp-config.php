<?php
// WordPress' configuration for scenes.
define('DB_NAME', 'wordpress');
define('DB_USER', 'root');
define('DB_PASSWORD', '');
define('DB_HOST', '127.0.0.1:' . getenv('SCENE_DATABASE_PORT'));
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $name) {
    define($name . '_KEY', "$name only for tests");
    define($name . '_SALT', "$name salt, only for tests");
}
define('WP_HOME', 'http://blog.example.org');
define('WP_SITEURL', 'http://blog.example.org');
define('WP_CONTENT_DIR', ABSPATH . 'wp-content');
define('WP_DEFAULT_THEME', 'scene');
define('DISABLE_WP_CRON', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);  // no test asks wordpress.org for updates
define('WP_ACCESSIBLE_HOSTS', '127.0.0.1');
require_once ABSPATH . 'wp-settings.php';
