<?php
// The comments that this visitor may see (his own before they are approved), and the form, filled in for who is known.
if (!post_password_required()) {
    wp_list_comments();
    comment_form();
}
